"""Mark one submission: have its answers run, and judge outside of them what they came to."""

import contextlib
import functools
import io
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from coursekit.checks import Exercise, ModelExercise, Verdict, borne_out
from coursekit.teaching.marking import answers, process
from coursekit.teaching.marking.answers import Answer, Course
from coursekit.teaching.marking.handed_in import Submission
from coursekit.teaching.marking.process import Process

_MODULE = "coursekit.teaching.marking.runner"
_TRAINING = 10  # times the seconds of other exercises, for those that train
_one_at_a_time = threading.Lock()  # of the threads in a worker, which share a runner
_IN_ALL = 30  # times the seconds of an exercise, for a submission that has to be run again and again
TAMPERED = (
    "Where it ran, this answer was called correct, but what it returned is not what the exercise asks for. A cell of "
    "this notebook may have changed the checker."
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
            with _one_at_a_time, _one_thread():
                _mark(found, course, settings, marks)
        except ValueError as error:
            marks.reason = str(error)
    marks.seconds = round(time.perf_counter() - started, 2)
    return marks


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let PyTorch compute as where answers run: more threads round otherwise, and a training ends elsewhere."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
    runner, done, kind = _runner(settings), 0, b""
    marks.protection = runner.protection
    for kind, content in runner.ask(request):
        if kind == process.END:
            reason = content.decode()
            break
        if exercises[done].name not in said:
            said[exercises[done].name] = _judged(exercises[done], content)
        done += 1
    else:
        reason = "The process that runs submissions died with it."
    if settings.image or kind != process.END:  # a container serves one submission only
        end_runner(settings)
    return done, reason


def _judged(exercise: Exercise, content: bytes) -> Marked:
    """Return what is said of an answer, once it is seen to be true where it says "correct"."""
    try:
        arrived = torch.load(io.BytesIO(content), weights_only=True)
        marked = Marked(exercise.name, str(arrived["status"]), str(arrived["message"]))
        marked.shown = [(str(label), str(text)) for label, text in arrived["shown"]]
        if _memory(arrived["evidence"]) > process.LARGEST:
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


_runners: dict[Settings, Process] = {}  # of this process


def _runner(settings: Settings) -> Process:
    if settings not in _runners:
        try:
            _runners[settings] = Process(
                _MODULE, settings.lesson, sandbox=settings.sandbox, image=settings.image, data=True
            )
        except RuntimeError as error:
            raise RuntimeError(f"mark: lesson {settings.lesson} can't be run here: {error}") from error
    return _runners[settings]


def end_runner(settings: Settings) -> None:
    """End this process's runner, if it has one; the next submission starts another."""
    if settings in _runners:
        _runners.pop(settings).close()
