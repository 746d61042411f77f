"""Run the answers of submissions, each in a process of its own: what the marker starts, and talks to by pipes.

python -m coursekit.teaching.marking.runner auto 03    serves requests, see `apart`

It imports the course and runs the cells that all answers need once, before it forks. It never holds anything of a
submission but the text of its cells.
"""

import functools
import io
import sys
from collections.abc import Callable

import torch
from IPython.core.interactiveshell import InteractiveShell

from coursekit.checks import CodeExercise, Verdict, evidence
from coursekit.teaching.marking import apart
from coursekit.teaching.marking.answers import RECORD, Course

_TEXT = 4000  # letters of what is said of an answer
_DISK = 64 * 2**20  # bytes


def main(shut_in: str, number: str) -> None:
    """Serve requests until standard input ends; `shut_in` is "auto" or, in a container, "none"."""
    server, course = apart.Server(shut_in, _DISK), Course(number)
    torch.set_num_threads(1)
    shell = apart.shell()
    for cell in course.prepared:
        result = shell.run_cell(course.sources[cell])
        if not result.success:
            error = result.error_before_exec or result.error_in_exec
            server.refuse(f"cell {cell} of {course.lesson.path.name} fails: {error!r}")
            return
    server.serve(functools.partial(_run, course, shell))


def _run(course: Course, shell: InteractiveShell, request: dict, answer: Callable[[bytes], None]) -> None:
    """Run the answers of a submission, in the child."""
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
        answer(packed(verdict, rests_on))


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


if __name__ == "__main__":
    main(*sys.argv[1:])
