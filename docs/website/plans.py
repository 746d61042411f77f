"""Plans of a course for the page for teachers: which lesson in which class, with the work at home."""

from coursekit.teaching.catalogue import Lesson

SHORT = (2, 3, 4, 5, 10)
SEMESTER = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15)


def table(numbers: tuple[int, ...], lessons: list[Lesson]) -> str:
    """Return the classes of a plan as a Markdown table, with minutes in class and hours at home."""
    by_number = {lesson.number: lesson for lesson in lessons}
    chosen = [by_number[number] for number in numbers if number in by_number]
    rows = ["| class | lesson | in class | at home |", "|--:|---|--:|---|"]
    rows += [
        f"| {place} | [{lesson.number} · {lesson.title}](/lessons/{lesson.path.name}) | {lesson.class_minutes} min "
        f"| {_at_home(lesson)} |"
        for place, lesson in enumerate(chosen, 1)
    ]
    return "\n".join(rows) + "\n"


def _at_home(lesson: Lesson) -> str:
    exercises = sum(prompt.minutes for prompt in lesson.prompts if prompt.at_home)
    reading = sum(section.minutes for section in lesson.sections if section.part == 2)
    return f"{round(reading)} min of reading, {exercises} min of exercises"


def needs(lessons: list[Lesson]) -> str:
    """Return which lesson needs which as a Markdown table, the map in words."""
    titles = {lesson.number: lesson.title for lesson in lessons}
    rows = ["| lesson | needs | these help |", "|---|---|---|"]
    rows += [
        f"| {lesson.number} · {titles[lesson.number]} | {_listed(lesson.needs)} | {_listed(lesson.helped_by)} |"
        for lesson in lessons
    ]
    return "\n".join(rows) + "\n"


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers)) or "–"
