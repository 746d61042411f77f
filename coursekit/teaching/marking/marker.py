"""Mark one submission: have its answers run, and judge outside of them what they came to."""

import functools
import io
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from coursekit.checks import Exercise, ModelExercise, Verdict, borne_out
from coursekit.teaching.catalogue import REPOSITORY
from coursekit.teaching.marking import answers, runner
from coursekit.teaching.marking.answers import Answer, Course
from coursekit.teaching.marking.handed_in import Submission

# What of the teacher's environment a submission may know
_KEPT = (
    "PATH", "LANG", "LC_ALL", "HOME", "TMPDIR", "XDG_CACHE_HOME", "PYTHONPATH", "LD_LIBRARY_PATH",
    "COURSEKIT_DATA", "COURSEKIT_SOURCE",
)  # fmt: skip
_SET = {
    "COURSEKIT_PROGRESS": "off", "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",  # a GPU doesn't outlive a fork
}  # fmt: skip
_START_S = 300  # to import the course and run what all answers need
_TRAINING = 10  # times the seconds of other exercises, for those that train
_one_at_a_time = threading.Lock()  # of the threads in a worker, which share a runner
_IN_ALL = 30  # times the seconds of an exercise, for a submission that has to be run again and again
PROTECTION = {
    "shut in": "own process, limits, no network, own view of the files",
    "limits": "own process, limits; network and files open",
    "container": "container without network",
}
TAMPERED = (
    "Where it ran, this answer was called correct, but what it returned is not what the exercise asks for. Look at its "
    "cell, and at the others of this notebook: one of them may have changed the checker."
)
UNCONFIRMED = "correct, unconfirmed"


@dataclass(frozen=True)
class Settings:
    """How to mark: which lesson, with how many seconds for an exercise, and shut in how.

    `sandbox` is "auto", which takes what the system offers, "none", or a container engine with an `image`.
    """

    lesson: str
    seconds: float = 60
    sandbox: str = "auto"
    image: str = ""


@dataclass
class Marked:
    """What is said of one answer; `note` is for the teacher."""

    exercise: str
    status: str
    message: str = ""
    shown: list[tuple[str, str]] = field(default_factory=list)
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        """The same as a verdict, which shows itself."""
        status = self.status if self.status in ("correct", "wrong", "raised") else "not attempted"
        return Verdict(self.exercise, status, self.message, tuple(map(tuple, self.shown)))


@dataclass
class Marks:
    """The marks of one submission, an entry for each exercise; or the `reason` why there are none."""

    student: str
    file: str
    reason: str = ""
    marked: list[Marked] = field(default_factory=list)
    protection: str = ""
    identity: str = ""
    seconds: float = 0.0

    @property
    def points(self) -> int:
        """The number of exercises that are right."""
        return sum(one.status == "correct" for one in self.marked)


def mark(submission: Submission, settings: Settings) -> Marks:
    """Return the marks of a submission. What is wrong with it ends up in them, and raises nothing."""
    started, marks = time.perf_counter(), Marks(submission.student, submission.file, submission.reason)
    marks.identity = submission.identity
    if not marks.reason:
        course = _course(settings.lesson)
        try:
            found = answers.answers(answers.read(submission.content, course), course)
            with _one_at_a_time:
                _mark(found, course, settings, marks)
        except ValueError as error:
            marks.reason = str(error)
    marks.seconds = round(time.perf_counter() - started, 2)
    return marks


@functools.cache
def _course(number: str) -> Course:
    return Course(number)


def _mark(found: list[Answer], course: Course, settings: Settings, marks: Marks) -> None:
    """Run answers until each has come to something: one that ends its process is left out of the next run."""
    said = {one.exercise: Marked(one.exercise, one.status) for one in found if not one.code}
    stopped, deadline = set(), time.monotonic() + _IN_ALL * settings.seconds
    while any(one.exercise not in said for one in found):
        running = [one for one in found if one.code and one.exercise not in stopped]
        if time.monotonic() > deadline:
            for one in running:
                said.setdefault(
                    one.exercise, Marked(one.exercise, "stopped", "Others before it took too long.")
                )
            break
        done, reason = _run(running, course, settings, said, marks)
        if reason:
            culprit = running[done].exercise
            stopped.add(culprit)
            said.setdefault(culprit, Marked(culprit, "stopped", reason))
    for one in found:
        said[one.exercise].note = one.note
    marks.marked = [said[one.exercise] for one in found]


def _run(
    found: list[Answer], course: Course, settings: Settings, said: dict[str, Marked], marks: Marks
) -> tuple[int, str]:
    """Run answers together, in order, and add what is said of each; return how many came through, and why not all."""
    exercises = [course.lesson.exercises[one.exercise] for one in found]
    request = {
        "steps": [{"exercise": one.exercise, "code": one.code, "support": one.support} for one in found],
        "seconds": [
            settings.seconds * (_TRAINING if isinstance(one, ModelExercise) else 1) for one in exercises
        ],
        "processor": int(_IN_ALL * settings.seconds),
    }
    process, done, kind = _runner(settings), 0, b""
    marks.protection = process.protection
    for kind, content in process.ask(request):
        if kind == runner.END:
            reason = content.decode()
            break
        if exercises[done].name not in said:
            said[exercises[done].name] = _judged(exercises[done], content)
        done += 1
    else:
        reason = "The process that runs submissions died with it."
    if settings.image or kind != runner.END:  # a container serves one submission only
        end_runner(settings)
    return done, reason


def _judged(exercise: Exercise, content: bytes) -> Marked:
    """Return what is said of an answer, once it is seen to be true where it says "correct"."""
    try:
        arrived = torch.load(io.BytesIO(content), weights_only=True)
        marked = Marked(exercise.name, str(arrived["status"]), str(arrived["message"]))
        marked.shown = [(str(label), str(text)) for label, text in arrived["shown"]]
        if _memory(arrived["evidence"]) > runner.LARGEST:
            raise ValueError("more numbers than were sent")
        right = borne_out(exercise, arrived["evidence"]) if marked.status == "correct" else None
    except Exception:  # it can be anything
        return Marked(exercise.name, "wrong", TAMPERED)
    if marked.status not in ("correct", "wrong", "raised", "not attempted") or right is False:
        return Marked(exercise.name, "wrong", TAMPERED)
    if marked.status == "correct" and right is None:
        marked.status = UNCONFIRMED
    return marked


def _memory(value: object) -> int:
    """Return the bytes that tensors claim to hold: a few may have been sent as if they were many."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        return sum(map(_memory, value.values()))
    return sum(map(_memory, value)) if isinstance(value, tuple | list) else 0


class _Process:
    """A runner, and what it writes."""

    def __init__(self, settings: Settings) -> None:
        command = [
            sys.executable,
            "-m",
            "coursekit.teaching.marking.runner",
            settings.lesson,
            settings.sandbox,
        ]
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | _SET
        environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(REPOSITORY), environment.get("PYTHONPATH")])
        )
        self._process = subprocess.Popen(
            _in_container(settings) if settings.image else command,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
        )  # fmt: skip
        self._frames: queue.Queue = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        kind, content = self._next(_START_S)
        if kind != runner.READY:
            raise RuntimeError(
                f"mark: lesson {settings.lesson} can't be run here: {content.decode() or 'it died'}"
            )
        self.protection = PROTECTION["container" if settings.image else content.decode()]

    def ask(self, request: dict) -> Iterator[tuple[bytes, bytes]]:
        """Yield the frames that answer a request, the last of kind END unless the runner died."""
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            return
        while True:
            kind, content = self._next(max(request["seconds"]) + _START_S)
            if kind != runner.FAILED:
                yield kind, content
            if kind != runner.ANSWER:
                return

    def close(self) -> None:
        """End the runner."""
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()

    def _listen(self) -> None:
        with self._process.stdout as pipe:
            while header := pipe.read(runner.HEADER.size):
                kind, length = runner.HEADER.unpack(header)
                self._frames.put((kind, pipe.read(length)))
        self._frames.put((runner.FAILED, b""))

    def _next(self, seconds: float) -> tuple[bytes, bytes]:
        try:
            return self._frames.get(timeout=seconds)
        except queue.Empty:
            self._process.kill()
            return runner.FAILED, b""


_runners: dict[Settings, _Process] = {}  # of this process


def _runner(settings: Settings) -> _Process:
    if settings not in _runners:
        _runners[settings] = _Process(settings)
    return _runners[settings]


def end_runner(settings: Settings) -> None:
    """End this process's runner, if it has one; the next submission starts another."""
    if settings in _runners:
        _runners.pop(settings).close()


def _in_container(settings: Settings) -> list[str]:
    """Return the command that starts the runner in a container: without network, with the course read-only."""
    if not shutil.which(settings.sandbox):
        raise RuntimeError(f"mark: there is no {settings.sandbox!r} on this machine")
    shared = {
        REPOSITORY / name: f"/course/{name}" for name in ("coursekit", "data", "notebooks", "pyproject.toml")
    }
    environment = _SET | {"PYTHONPATH": "/course", "HOME": "/tmp"}
    if data := os.environ.get("COURSEKIT_DATA"):
        shared[data], environment["COURSEKIT_DATA"] = "/data", "/data"
    return [
        settings.sandbox, "run", "--rm", "--interactive", "--network=none", "--read-only", "--cap-drop=all",
        "--security-opt=no-new-privileges", "--pids-limit=512", "--memory=4g", "--tmpfs=/tmp:size=256m",
        *(f"--volume={here}:{there}:ro" for here, there in shared.items()),
        *(f"--env={name}={value}" for name, value in environment.items()),
        settings.image, "python", "-m", "coursekit.teaching.marking.runner", settings.lesson, "none",
    ]  # fmt: skip
