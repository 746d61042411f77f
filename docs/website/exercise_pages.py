"""The teachers' pages: every exercise with its question, the mistakes it names, its hints and its solution."""

import contextlib
import html
import io
import re

from coursekit.checks import Exercise, Quiz
from coursekit.teaching.catalogue import Lesson, Prompt, Section
from coursekit.teaching.markdown import plain


def overview(lessons: list[Lesson]) -> str:
    """Return a table of the lessons with the number of exercises, and of the mistakes they name."""
    rows, totals = [], [0, 0, 0]
    for lesson in lessons:
        exercises = lesson.exercises.values()
        counts = [
            len(exercises),
            sum(len(exercise.sentences) for exercise in exercises),
            sum(len(exercise.all_hints) for exercise in exercises),
        ]
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        numbers = " | ".join(map(str, counts))
        rows.append(f"| [{lesson.number} · {lesson.title}](/exercises/{lesson.stem}.md) | {numbers} |")
    rows.append("| **all** | " + " | ".join(f"**{total}**" for total in totals) + " |")
    return "\n".join(["| lesson | exercises | mistakes named | hints |", "|---|--:|--:|--:|", *rows]) + "\n"


def page(lesson: Lesson) -> str:
    """Return the page of a lesson's exercises, in Markdown."""
    exercises = lesson.exercises
    head = (
        f"# Exercises of lesson {lesson.number}\n\n"
        f"{len(exercises)} exercises of [{lesson.title}](/lessons/{lesson.path.name}), with their solutions.\n"
    )
    return "\n".join([head, *(_entry(prompt, exercises[prompt.name]) for prompt in lesson.prompts)])


def _entry(prompt: Prompt, exercise: Exercise) -> str:
    place = "at home" if prompt.at_home else "in class"
    minutes = "1 minute" if prompt.minutes == 1 else f"{prompt.minutes} minutes"
    parts = [
        f"## {prompt.number} · {prompt.title}",
        f"`{exercise.usage}` · {minutes}, {place}",
        _question(prompt.text),
        _folded(
            "Mistakes it names", _answers(exercise) if isinstance(exercise, Quiz) else _mistakes(exercise)
        ),
        _folded("Hints", "\n".join(f"1. {escaped(hint)}" for hint in exercise.all_hints)),
        _folded("Solution", f"```python\n{_solution(exercise)}\n```"),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _question(text: str) -> str:
    """Return the prompt as a quotation, so that it can be told from what is said about it."""
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def _mistakes(exercise: Exercise) -> str:
    return "\n".join(f"- {escaped(sentence)}" for sentence in exercise.sentences)


def _answers(quiz: Quiz) -> str:
    lines = []
    for name, question in quiz.questions.items():
        lines.append(f"- `{name}`")
        lines.append(f"  - ✓ `{question.answer}` {escaped(question.reason)}")
        lines += [f"  - ✗ `{answer}` {escaped(reason)}" for answer, reason in question.wrong.items()]
    return "\n".join(lines)


def _solution(exercise: Exercise) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exercise.solution()
    return printed.getvalue().strip()


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{html.escape(title)}</summary>\n\n{body}\n\n</details>" if body else ""


def escaped(sentence: str) -> str:
    """Return a sentence in which only `quoted code` is markup."""
    parts = re.split(r"(`[^`]+`)", sentence)
    return "".join(
        part if part.startswith("`") else re.sub(r"([*_<>\[\]$|\\~])", r"\\\1", part) for part in parts
    )


def timing(lessons: list[Lesson]) -> str:
    """Return for every lesson a table of its sections with their minutes and exercises."""
    return "\n".join(_timing_of(lesson) for lesson in lessons)


def _timing_of(lesson: Lesson) -> str:
    at_home = sum(prompt.minutes for prompt in lesson.prompts if prompt.at_home)
    head = (
        f"### {lesson.number} · {lesson.title}\n\n"
        f"{lesson.class_minutes} minutes in class, {at_home} minutes of exercises at home; Run All takes "
        f"{lesson.seconds['sample']} s with the sample, {lesson.seconds['full']} s with the full data.\n"
    )
    rows = ["| section | minutes | exercises in class | at home |", "|---|--:|---|---|"]
    for part, name in ((1, "Part 1 · In class"), (2, "Part 2 · At home")):
        sections = [section for section in lesson.sections if section.part == part]
        if lesson.has_parts:
            rows.append(f"| **{name}** | | | |")
        rows += [_timing_row(*row) for row in zip(sections, whole_minutes(sections), strict=True)]
    return "\n".join([head, *rows]) + "\n"


def _timing_row(section: Section, minutes: int) -> str:
    here = ", ".join(str(prompt.number) for prompt in section.prompts if not prompt.at_home)
    home = ", ".join(str(prompt.number) for prompt in section.prompts if prompt.at_home)
    return f"| {plain(section.title)} | {minutes} | {here} | {home} |"


def whole_minutes(sections: list[Section]) -> list[int]:
    """Return the minutes of sections as whole numbers that add up to their rounded sum."""
    exact = [section.minutes for section in sections]
    whole = [int(minutes) for minutes in exact]
    by_remainder = sorted(range(len(exact)), key=lambda index: whole[index] - exact[index])
    for index in by_remainder[: round(sum(exact)) - sum(whole)]:
        whole[index] += 1
    return whole
