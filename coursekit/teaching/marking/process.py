"""A process that runs foreign code for this one, and what it answers: this side of the pipe.

The other side is `apart`. What comes back is bytes from somewhere that nobody should trust.
"""

import argparse
import json
import os
import queue
import shutil
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator

from coursekit.teaching.catalogue import REPOSITORY

LARGEST = 32 * 2**20  # bytes of a frame
HEADER = struct.Struct(">cQ")  # a frame's kind and length
READY, FAILED, ANSWER, END = b"R", b"F", b"A", b"E"
# What of the teacher's environment foreign code may know
_KEPT = ("PATH", "LANG", "LC_ALL", "HOME", "TMPDIR", "XDG_CACHE_HOME", "PYTHONPATH", "LD_LIBRARY_PATH")
_DATA = ("COURSEKIT_DATA", "COURSEKIT_SOURCE")  # likewise, where the course's data are needed
_SET = {
    "COURSEKIT_PROGRESS": "off", "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",  # a GPU doesn't outlive a fork
}  # fmt: skip
_START_S = 300  # to import the course and run what all answers need
PROTECTION = {
    "shut in": "own process, limits, no network, own view of the files",
    "limits": "own process, limits; network and files open",
    "container": "container without network",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Let a command line say how foreign code is shut in."""
    parser.add_argument(
        "--sandbox", choices=["auto", "none", "podman", "docker"], default="auto",
        help="how to shut in foreign code: with what the system offers, with limits only, in a container",
    )  # fmt: skip
    parser.add_argument("--image", default="", help="of podman or docker, with the course's packages in it")


def check(function: str, sandbox: str, image: str) -> None:
    """Raise ValueError, naming the function, where foreign code can't be run as asked for."""
    if not hasattr(os, "fork"):
        raise ValueError(f"{function}: this system can't run submissions apart; on Windows, call it in WSL")
    if (sandbox in ("podman", "docker")) != bool(image):
        raise ValueError(
            f"{function}: --image names the image of --sandbox podman or docker; give both or neither"
        )


class Process:
    """A process of a module that serves requests; `sandbox` as on the command line, with an `image` in a container.

    With `data`, foreign code may read what `$COURSEKIT_DATA` names. Raises RuntimeError where it can't start.
    """

    def __init__(self, module: str, *arguments: str, sandbox: str, image: str, data: bool) -> None:
        kept = [name for name in (*_KEPT, *(_DATA if data else ())) if name in os.environ]
        environment = {name: os.environ[name] for name in kept} | _SET
        environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(REPOSITORY), environment.get("PYTHONPATH")])
        )
        call = ["-m", module, "none" if image else sandbox, *arguments]
        self._process = subprocess.Popen(
            [*_in_container(sandbox, image, data), *call] if image else [sys.executable, *call],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
        )  # fmt: skip
        self._frames: queue.Queue = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        kind, content = self._next(_START_S)
        if kind != READY:
            self.close()
            raise RuntimeError(content.decode() or "it died")
        self.protection = PROTECTION["container" if image else content.decode()]

    def ask(self, request: dict) -> Iterator[tuple[bytes, bytes]]:
        """Yield the frames that answer a request, the last of kind END unless the process died."""
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            return
        while True:
            kind, content = self._next(max(request["seconds"]) + _START_S)
            if kind != FAILED:
                yield kind, content
            if kind != ANSWER:
                return

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()

    def _listen(self) -> None:
        with self._process.stdout as pipe:
            while header := pipe.read(HEADER.size):
                kind, length = HEADER.unpack(header)
                self._frames.put((kind, pipe.read(length)))
        self._frames.put((FAILED, b""))

    def _next(self, seconds: float) -> tuple[bytes, bytes]:
        try:
            return self._frames.get(timeout=seconds)
        except queue.Empty:
            self._process.kill()
            return FAILED, b""


def _in_container(engine: str, image: str, data: bool) -> list[str]:
    """Return the command that starts Python in a container: without network, with the course read-only."""
    if not shutil.which(engine):
        raise RuntimeError(f"there is no {engine!r} on this machine")
    shared = {
        REPOSITORY / name: f"/course/{name}" for name in ("coursekit", "data", "notebooks", "pyproject.toml")
    }
    environment = _SET | {"PYTHONPATH": "/course", "HOME": "/tmp"}
    if data and (folder := os.environ.get("COURSEKIT_DATA")):
        shared[folder], environment["COURSEKIT_DATA"] = "/data", "/data"
    return [
        engine, "run", "--rm", "--interactive", "--network=none", "--read-only", "--cap-drop=all",
        "--security-opt=no-new-privileges", "--pids-limit=512", "--memory=4g", "--tmpfs=/tmp:size=256m",
        *(f"--volume={here}:{there}:ro" for here, there in shared.items()),
        *(f"--env={name}={value}" for name, value in environment.items()),
        image, "python",
    ]  # fmt: skip
