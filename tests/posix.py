"""What only some systems offer the tests: limits on files, users, peaks of memory. Elsewhere they are left out."""

import contextlib
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

try:
    import resource
except ModuleNotFoundError:  # Windows
    resource = None

_STATUS, _CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")

only_posix = pytest.mark.skipif(resource is None, reason="this system has no POSIX processes and limits")
only_root = pytest.mark.skipif(
    not hasattr(os, "setresuid") or os.geteuid() != 0, reason="only root can become another user"
)
only_linux = pytest.mark.skipif(not _CLEAR_REFS.exists(), reason="only Linux forgets a peak of memory")


@contextlib.contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Make a write past `size` bytes fail in the block, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write is an error then, not the end
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)


@contextlib.contextmanager
def as_user(number: int = 65534) -> Iterator[None]:
    """Run the block as another user, `nobody` by default, if this is root, whom no permission of a file stops.

    What the block needs must be imported before: the other user may not be able to read it.
    """
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(number, number, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@contextlib.contextmanager
def memory_up_to(mebibytes: float) -> Iterator[None]:
    """Fail unless the peak of this process in the block stays within `mebibytes` of what it had before."""
    _CLEAR_REFS.write_text("5", encoding="utf-8")  # the peak is what is in use now: proc(5)
    before = _peak()
    yield
    assert _peak() - before <= mebibytes


def _peak() -> float:
    """Return the peak of resident memory since it was last cleared, in MiB."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text(encoding="utf-8"))[1]) / 1024
