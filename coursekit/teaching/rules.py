"""The rules of a lesson that can be checked without running it. For authors, and for the tests.

python -m coursekit.teaching.rules [NUMBER ...]
"""

import argparse
import re
import sys
from collections.abc import Callable

from coursekit.teaching import catalogue, cell_names, commands, prose
from coursekit.teaching.catalogue import Lesson

MINUTES_IN_CLASS = 90
SECONDS_OF_PART_1 = 40
_ENDS = ["Your exercises", "Next"]


def two_parts(lesson: Lesson) -> list[str]:
    """Return what keeps a lesson from being Part 1, in class, with a recap, and Part 2, at home."""
    texts = [cell.source for cell in lesson.notebook.cells if cell.cell_type == "markdown"]
    headlines = re.findall(r"^## (.+)$", "\n".join(texts), re.MULTILINE)
    sections = [headline for headline in headlines if re.match(r"\d+ · ", headline)]
    numbers = [int(re.match(r"\d+", headline)[0]) for headline in sections]
    frame = [headline for headline in headlines if headline not in sections]
    wanted = ["The question", "Part 1 · In class", "Recap", "Part 2 · At home", *_ENDS]
    problems = []
    if frame != wanted:
        problems.append(
            f"the headlines of level two should be {', '.join(wanted)}, and sections; they are {', '.join(frame)}"
        )
    elif headlines.index("Recap") + 1 != headlines.index("Part 2 · At home"):
        problems.append("“Recap” closes Part 1: put it right above “Part 2 · At home”")
    if numbers != list(range(1, len(numbers) + 1)):
        problems.append(f"sections are numbered from 1 without a gap, “1 · …”; these are {numbers}")
    return problems


def fits_the_class(lesson: Lesson) -> list[str]:
    """Return by how much Part 1 is too long for a class, by words, code cells, figures and exercises."""
    minutes, said = lesson.class_minutes, re.search(r"\*\*Time\*\* (\d+) minutes", lesson.opening)
    if not said or not minutes <= int(said[1]) <= MINUTES_IN_CLASS:
        longest = sorted((one for one in lesson.sections if one.part == 1), key=lambda one: -one.minutes)[:3]
        parts = ", ".join(f"“{section.title}” {section.minutes:.0f}" for section in longest)
        return [
            f"Part 1 takes {minutes} minutes by the rule (words / 150 + code cells / 2 + figures + minutes of its "
            f"exercises), the opening says {said[1] if said else 'nothing'}, {MINUTES_IN_CLASS} are allowed: shorten "
            f"it, or move sections to Part 2. The longest: {parts}"
        ]
    return []


def part_1_is_quick(lesson: Lesson) -> list[str]:
    """Return by how much the recorded run of Part 1 on the sample was too slow."""
    seconds = lesson.seconds.get("part_1", 0)
    if seconds <= SECONDS_OF_PART_1:
        return []
    return [
        f"Part 1 took {seconds} s on the sample, {SECONDS_OF_PART_1} s are allowed: train less there, or in Part 2"
    ]


def says_nothing_wrong(lesson: Lesson) -> list[str]:
    """Return the phrases of its text that are never right."""
    return [
        f"cell {number} says {found}"
        for number, cell in enumerate(lesson.notebook.cells, 1)
        if cell.cell_type == "markdown"
        for found in prose.never_right(cell.source)
    ]


def numbers_are_shown(lesson: Lesson) -> list[str]:
    """Return the numbers of its text that no output of the stored run shows above them."""
    shown = [prose.printed(cell.outputs) for cell in lesson.notebook.cells if cell.cell_type == "code"]
    return prose.missing_numbers(lesson.notebook, shown)


RULES: dict[str, Callable[[Lesson], list[str]]] = {
    "two parts": two_parts,
    "Part 1 fits the class": fits_the_class,
    "Part 1 is quick": part_1_is_quick,
    "Part 1 needs nothing of Part 2": cell_names.needed_from_part_2,
    "sections of Part 2 stand alone": cell_names.needed_from_other_sections,
    "one name, one thing": cell_names.rebound,
    "answers are used": cell_names.unused_answers,
    "no answer is given away": cell_names.answers_given_away,
    "the field's words": says_nothing_wrong,
    "numbers are shown": numbers_are_shown,
}


def broken(lesson: Lesson) -> dict[str, list[str]]:
    """Return the rules that a lesson breaks, each with where and what to do."""
    found = {rule: check(lesson) for rule, check in RULES.items()}
    return {rule: problems for rule, problems in found.items() if problems}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status, 1 where a rule is broken."""
    parser = argparse.ArgumentParser(
        prog="python -m coursekit.teaching.rules", description=__doc__.splitlines()[0]
    )
    parser.add_argument("numbers", nargs="*", metavar="NUMBER", help="lessons, such as 03 09 (default: all)")
    options = parser.parse_args(arguments)

    def command() -> int:
        found = {lesson.stem: broken(lesson) for lesson in catalogue.select(" ".join(options.numbers))}
        for stem, rules in found.items():
            print(
                f"{stem}: {'keeps all rules' if not rules else f'breaks {len(rules)} of {len(RULES)} rules'}"
            )
            for rule, problems in rules.items():
                print(f"  {rule}")
                print("\n".join(f"    {problem}" for problem in problems))
        return min(sum(map(len, found.values())), 1)

    return commands.run(command)


if __name__ == "__main__":
    sys.exit(main())
