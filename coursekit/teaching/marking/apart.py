"""Run foreign code for a process that trusts none: the other side of the pipe of `process`.

Requests come on standard input, a line of JSON each, and frames go to standard output. For each request this process
forks: the child is shut in, runs what it is to run and sends what that comes to; this process hands that on unread,
keeps the time, and ends the child with whatever it started. It never runs anything of a submission itself.
"""

import contextlib
import json
import os
import select
import signal
import site
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import platformdirs
from IPython.core.interactiveshell import InteractiveShell

from coursekit import files
from coursekit.teaching.catalogue import REPOSITORY
from coursekit.teaching.marking import sandbox
from coursekit.teaching.marking.process import ANSWER, END, FAILED, HEADER, LARGEST, READY

_ROOM = 16 * 2**20  # bytes, so that a file meets its own limit before the disk is full
Run = Callable[[dict, Callable[[bytes], None]], None]  # what a child does: a request, and how to answer


@dataclass
class Server:
    """Serves requests; `shut_in` is "auto" or, without a view of the machine of its own, "none".

    `disk` is how many bytes foreign code may write where it is shut in. Once a server is made, what this process prints
    is thrown away.
    """

    shut_in: str
    disk: int

    def __post_init__(self) -> None:
        self._out = os.dup(1)
        os.dup2(os.open(os.devnull, os.O_RDWR), 1)
        os.dup2(1, 2)

    def refuse(self, reason: str) -> None:
        """Say why no request can be served."""
        send(self._out, FAILED, reason.encode())

    def serve(self, run: Run) -> None:
        """Serve requests until standard input ends, each by `run` in a child of its own.

        A request holds, beside what `run` needs, the `seconds` that each answer may take and, as `processor`, those of
        the processor that all may.
        """
        with tempfile.TemporaryDirectory() as folder:
            isolated = self.shut_in == "auto" and sandbox.can_be_shut_in(Path(folder), _readable())
        send(self._out, READY, b"shut in" if isolated else b"limits")
        for line in sys.stdin:
            with tempfile.TemporaryDirectory() as folder:
                self._serve(json.loads(line), run, Path(folder), isolated)

    def _serve(self, request: dict, run: Run, folder: Path, isolated: bool) -> None:
        """Run one request in a child, handing on its frames; end with why it stopped, "" where it came through."""
        receive, give = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.close(receive)
                self._be_the_child(request, run, give, folder, isolated)
            finally:
                os._exit(0)
        os.close(give)
        reason = ""
        try:
            for seconds in request["seconds"]:
                frame = _frame(receive, time.monotonic() + seconds)
                if isinstance(frame, str):
                    reason = frame
                    break
                send(self._out, ANSWER, frame)
        finally:
            os.close(receive)
            ended = _ended(child)
        send(self._out, END, (ended if reason == "ended" else reason).encode())

    def _be_the_child(self, request: dict, run: Run, give: int, folder: Path, isolated: bool) -> None:
        os.setsid()
        os.close(self._out)
        os.dup2(1, 0)
        os.environ["HOME"] = sandbox.WORK if isolated else str(folder)
        sandbox.limit(sandbox.Limits(request["processor"], file=self.disk))
        os.chdir(folder)
        if isolated:
            sandbox.shut_in(folder, _readable(), size=self.disk + _ROOM)
        run(request, lambda content: send(give, ANSWER, content))


def shell() -> InteractiveShell:
    """Return a shell that runs cells with their magics and keeps no history."""
    from traitlets.config import Config

    return InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))


def _readable() -> list[Path]:
    """Return the folders that foreign code may read: Python's, the course's, and those with data."""
    packages = [Path(folder) for folder in sys.path if folder.endswith("-packages")]
    data = os.environ.get("COURSEKIT_DATA")
    return [
        Path(sys.base_prefix), Path(sys.prefix), *packages, Path(site.getusersitepackages()),
        REPOSITORY / "coursekit", Path(str(resources.files("coursekit.datasets"))), *([Path(data)] if data else []),
        *filter(None, [files.user_folder(platformdirs.user_cache_path)]),
    ]  # fmt: skip


def _frame(source: int, deadline: float) -> bytes | str:
    """Return the next frame of a child; or in words why there is none."""
    header = _read(source, HEADER.size, deadline)
    if isinstance(header, str):
        return header
    length = HEADER.unpack(header)[1]
    return _read(source, length, deadline) if length <= LARGEST else "It returned more than can be judged."


def _read(source: int, count: int, deadline: float) -> bytes | str:
    parts, missing = [], count
    while missing:
        if not select.select([source], [], [], max(0, deadline - time.monotonic()))[0]:
            return "It did not end in time, and was stopped."
        if not (part := os.read(source, min(missing, 2**20))):
            return "ended"
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _ended(child: int) -> str:
    """End a child and all that it started, as far as they are its group; return how it had ended, if it had."""
    time.sleep(0.01)  # it closes its pipe a moment before it has ended
    before, status = os.waitpid(child, os.WNOHANG)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    if not before:
        status = os.waitpid(child, 0)[1]
    code = os.waitstatus_to_exitcode(status)
    if code in (-signal.SIGXCPU, 128 + signal.SIGXCPU):
        return "It used up its time on the processor, and was stopped."
    return f"It ended the process it ran in (exit status {code})."


def send(target: int, kind: bytes, content: bytes) -> None:
    """Write a frame."""
    left = memoryview(HEADER.pack(kind, len(content)) + content)
    while left:
        left = left[os.write(target, left) :]
