"""Files that are there whole or not at all, and where a user keeps them."""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

_ABANDONED_AFTER_S = 600


@contextlib.contextmanager
def atomic_write(path: Path, *, keep: Path | None = None) -> Iterator[BinaryIO]:
    """Open a scratch file beside `path`; when the block ends well, put it on disk and rename it to `path`.

    A reader sees the old contents or the new ones, whatever happens in between: an error, a full disk, a killed
    process. The old file, if any, is kept under the name `keep`. Folders that are missing are made. What a process
    killed in here left behind, a later call deletes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path.parent.glob(f"{path.name}.*.part"))
    scratch = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with scratch.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if keep and path.exists():
            _copy(path, keep)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def user_folder(kind: Callable[..., Path]) -> Path | None:
    """Return this user's folder of a kind, such as `platformdirs.user_cache_path`; None for one without a home."""
    with contextlib.suppress(RuntimeError, KeyError):
        folder = kind("coursekit", appauthor=False)
        if folder.parts[0] != "~":  # older releases of platformdirs return it as it is
            return folder
    return None


def remove_abandoned(leftovers: Iterable[Path]) -> None:
    """Delete the files and folders that no living process can be at work on: untouched for ten minutes."""
    for leftover in leftovers:
        with contextlib.suppress(OSError):  # another process was first
            if time.time() - leftover.stat().st_mtime > _ABANDONED_AFTER_S:
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def _copy(path: Path, copy: Path) -> None:
    copy.unlink(missing_ok=True)
    try:
        os.link(path, copy)
    except OSError:  # file systems without links: memory cards, mounted drives
        shutil.copyfile(path, copy)
