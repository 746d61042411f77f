"""Run the answers of submissions, each in a process of its own: what the marker starts, and talks to by pipes.

python -m coursekit.teaching.marking.runner 03    reads requests on standard input, writes frames to standard output

It imports the course and runs the cells that all answers need once. For each request it forks: the child is shut in,
runs the answers and sends what they come to; this process hands that on unread, keeps the time, and ends the child with
whatever it started. It never holds anything of a submission but the text of its cells.
"""

import contextlib
import io
import json
import os
import select
import signal
import site
import struct
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path

import platformdirs
import torch
from IPython.core.interactiveshell import InteractiveShell

from coursekit import files
from coursekit.checks import CodeExercise, Verdict, evidence
from coursekit.teaching.catalogue import REPOSITORY
from coursekit.teaching.marking import sandbox
from coursekit.teaching.marking.answers import RECORD, Course

LARGEST = 32 * 2**20  # bytes of a frame
HEADER = struct.Struct(">cQ")  # a frame's kind and length
READY, FAILED, ANSWER, END = b"R", b"F", b"A", b"E"
_TEXT = 4000  # letters of what is said of an answer
_DISK = 80 * 2**20  # bytes; more than a single file may have


def main(number: str, shut_in: str) -> None:
    """Serve requests until standard input ends; `shut_in` is "auto" or, in a container, "none"."""
    course, out = Course(number), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    os.dup2(1, 2)
    torch.set_num_threads(1)
    shell = _shell()
    for cell in course.prepared:
        result = shell.run_cell(course.sources[cell])
        if not result.success:
            error = result.error_before_exec or result.error_in_exec
            send(out, FAILED, f"cell {cell} of {course.lesson.path.name} fails: {error!r}".encode())
            return
    with tempfile.TemporaryDirectory() as folder:
        isolated = shut_in == "auto" and sandbox.can_be_shut_in(Path(folder), _readable())
    send(out, READY, b"shut in" if isolated else b"limits")
    for line in sys.stdin:
        with tempfile.TemporaryDirectory() as folder:
            _serve(json.loads(line), course, shell, out, Path(folder), isolated)


def _shell() -> InteractiveShell:
    """Return a shell that runs cells with their magics and keeps no history."""
    from traitlets.config import Config

    return InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))


def _readable() -> list[Path]:
    """Return the folders that an answer may read: Python's, the course's, and those with data."""
    packages = [Path(folder) for folder in sys.path if folder.endswith("-packages")]
    data = os.environ.get("COURSEKIT_DATA")
    return [
        Path(sys.base_prefix), Path(sys.prefix), *packages, Path(site.getusersitepackages()),
        REPOSITORY / "coursekit", Path(str(resources.files("coursekit.datasets"))), *([Path(data)] if data else []),
        *filter(None, [files.user_folder(platformdirs.user_cache_path)]),
    ]  # fmt: skip


def _serve(
    request: dict, course: Course, shell: InteractiveShell, out: int, folder: Path, isolated: bool
) -> None:
    """Run one submission in a child, handing on its frames; end with why it stopped, "" where it came through."""
    receive, give = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(receive)
            _be_the_child(request, course, shell, give, folder, isolated, out)
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
            send(out, ANSWER, frame)
    finally:
        os.close(receive)
        ended = _ended(child)
    send(out, END, (ended if reason == "ended" else reason).encode())


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


# The child -----------------------------------------------------------------------------------------------


def _be_the_child(
    request: dict, course: Course, shell: InteractiveShell, give: int, folder: Path, isolated: bool, out: int
) -> None:
    os.setsid()
    os.close(out)
    os.dup2(1, 0)
    os.environ["HOME"] = sandbox.WORK if isolated else str(folder)
    sandbox.limit(sandbox.Limits(request["processor"]))
    os.chdir(folder)
    if isolated:
        sandbox.shut_in(folder, _readable(), size=_DISK)
    for name, exercise in course.lesson.exercises.items():
        if isinstance(exercise, CodeExercise) and name not in {step["exercise"] for step in request["steps"]}:
            shell.user_ns[name] = exercise.reference  # as `or_solution` does in the lesson
    for step in request["steps"]:
        exercise = course.lesson.exercises[step["exercise"]]
        for cell in step["support"]:
            shell.run_cell(course.sources[cell])
        verdict, rests_on = _answered(shell, exercise, step["code"])
        if isinstance(exercise, CodeExercise) and verdict.status != "correct":
            shell.user_ns[exercise.name] = exercise.reference
        send(give, ANSWER, packed(verdict, rests_on))


def _answered(shell: InteractiveShell, exercise: object, code: str) -> tuple[Verdict, object]:
    """Return the verdict on an answer, and what it rests on."""
    arrived = []
    shell.user_ns[RECORD] = lambda *given, **named: arrived.append((given, named))
    result = shell.run_cell(code)
    error = result.error_before_exec or result.error_in_exec
    if not arrived:
        if error is None:
            return Verdict(exercise.name, "not attempted", "The check was not called."), None
        line = f"\nline {error.lineno}: {error.text}" if isinstance(error, SyntaxError) else ""
        return Verdict(exercise.name, "raised", f"{type(error).__name__}: {error}{line}"), None
    given, named = arrived[-1]
    if isinstance(exercise, CodeExercise) and given and given[-1] is exercise.reference:
        return Verdict(exercise.name, "not attempted", "It hands in the course's own solution."), None
    verdict = exercise.verdict(given, named)
    try:
        return verdict, evidence(exercise, given, named) if verdict.status == "correct" else None
    except BaseException:  # without it, the verdict won't count
        return verdict, None


def packed(verdict: Verdict, rests_on: object) -> bytes:
    """Return what is sent of a verdict, and what it rests on, as bytes that hold no code."""
    said = {
        "status": verdict.status, "message": verdict.message[:_TEXT],
        "shown": [(label[:_TEXT], text[:_TEXT]) for label, text in verdict.shown[:9] if label != "help"],
    }  # fmt: skip
    target = io.BytesIO()
    torch.save(said | {"evidence": rests_on}, target)
    return target.getvalue()


def send(target: int, kind: bytes, content: bytes) -> None:
    """Write a frame."""
    left = memoryview(HEADER.pack(kind, len(content)) + content)
    while left:
        left = left[os.write(target, left) :]


if __name__ == "__main__":
    main(*sys.argv[1:])
