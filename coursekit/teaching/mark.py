"""Mark the notebooks that a class has handed in: a table of marks, a page for each student, one for the class.

python -m coursekit.teaching.mark handed_in --lesson 03 -o marks.csv
"""

import argparse
import concurrent.futures
import contextlib
import hashlib
import json
import multiprocessing
import os
import re
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

from tqdm.auto import tqdm

from coursekit.checks import printable
from coursekit.files import atomic_write
from coursekit.teaching import commands
from coursekit.teaching.marking import hand_back, handed_in, marker, pages, process, schools
from coursekit.teaching.marking.answers import Course
from coursekit.teaching.marking.handed_in import Submission
from coursekit.teaching.marking.marker import Marked, Marks, Settings


def mark(
    source: Path, output: Path, settings: Settings, executor: Executor, *, assignment: str = ""
) -> list[Marks]:
    """Mark what lies in a folder or a zip, write the table and the pages, and return the marks.

    `assignment` is the name that nbgrader knows it by, if not that of the lesson's notebook. Each submission is handed
    to the executor on its own. What was marked before, and is still what it was, is not marked again: the marks are
    kept beside the table, in a folder of its name. Raises ValueError where nothing was handed in, or nothing can be
    written.
    """
    course, folder = Course(settings.lesson), output.with_suffix("")
    commands.check_writable("mark", "output", folder)
    submissions = handed_in.collect(source, assignment, course.lesson.stem)
    kept = folder / "results.jsonl"
    known = dict(_known(kept))
    prints = [_print(one, course, settings) for one in submissions]
    fresh = [pair for pair in zip(prints, submissions, strict=True) if pair[0] not in known]
    with kept.open("a", encoding="utf-8") as file:
        for fingerprint, marks in _marked(dict(fresh), settings, executor):
            known[fingerprint] = marks
            if not marks.reason.startswith(_LOST):
                stored = json.dumps({"print": fingerprint, **asdict(marks)})
                file.write(f"\n{stored}\n")  # on a line of its own, also below one that was cut off
                file.flush()
    all_marks = [known[fingerprint] for fingerprint in prints]
    exercises = list(course.of_exercise)
    pages.write(all_marks, exercises, f"Lesson {course.lesson.number} · {course.lesson.title}", folder)
    table = pages.table(all_marks, exercises)
    _write(output, table.encode("utf-8-sig", "replace"))  # as spreadsheets expect it
    return all_marks


def _write(path: Path, content: bytes) -> None:
    try:
        with atomic_write(path) as file:
            file.write(content)
    except OSError as error:
        raise ValueError(
            f"mark: {str(path)!r} can't be written ({error.strerror}): close it where it is open, and call this "
            "again. The marks are kept"
        ) from error


_LOST = "not marked: "


def _marked(
    submissions: dict[str, Submission], settings: Settings, executor: Executor
) -> Iterator[tuple[str, Marks]]:
    """Yield the marks of submissions as they come, with a progress bar."""
    waiting = {
        executor.submit(marker.mark, submission, settings): fingerprint
        for fingerprint, submission in submissions.items()
    }
    for future in tqdm(concurrent.futures.as_completed(waiting), total=len(waiting), unit="notebook"):
        submission = submissions[waiting[future]]
        try:
            yield waiting[future], future.result()
        except Exception as error:  # of the worker, not of the submission
            reason = f"{_LOST}{type(error).__name__}: {error}"
            yield waiting[future], Marks(submission.student, submission.file, reason)


def _print(submission: Submission, course: Course, settings: Settings) -> str:
    """Return what tells whether a submission has to be marked again."""
    said = [
        submission.student,
        submission.file,
        submission.reason,
        course.version,
        settings.sandbox,
        settings.seconds,
    ]
    return hashlib.sha256(json.dumps(said).encode() + submission.content).hexdigest()[:24]


def _known(path: Path) -> Iterator[tuple[str, Marks]]:
    """Yield the marks that were kept, by their fingerprints; a line that was cut off is left out."""
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            stored = json.loads(line)
        except ValueError:
            continue
        fingerprint, marked = stored.pop("print"), [Marked(**one) for one in stored.pop("marked")]
        yield fingerprint, Marks(**stored, marked=marked)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m coursekit.teaching.mark", description=__doc__.splitlines()[0]
    )
    parser.add_argument("handed_in", type=Path, help="a folder or a zip of notebooks")
    parser.add_argument("--lesson", required=True, help="the lesson's number")
    parser.add_argument("-o", "--output", type=Path, default=Path("marks.csv"), help="the table to write")
    parser.add_argument(
        "--fill",
        type=Path,
        metavar="TABLE",
        help="Moodle's grading worksheet or Canvas' gradebook, to fill a copy of",
    )
    parser.add_argument(
        "--scale", action="store_true", help="fill it with fractions of its maximum, not with points"
    )
    parser.add_argument(
        "--feedback", type=Path, metavar="PLACE",
        help="where to put the students' pages, to hand them back: a .zip for Moodle or Canvas, nbgrader's `feedback`",
    )  # fmt: skip
    parser.add_argument(
        "--assignment",
        default="",
        help="its name in Canvas' gradebook or in nbgrader, where the lesson's doesn't fit",
    )
    parser.add_argument(
        "--seconds", type=float, default=60, help="for an exercise; ten times as many to train"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="how many to mark at a time")
    parser.add_argument(
        "--scheduler", default="", help="of a Dask cluster to mark on, such as tcp://host:8786"
    )
    process.add_arguments(parser)
    options = parser.parse_args(arguments)
    return commands.run(lambda: _command(options))


def _command(options: argparse.Namespace) -> None:
    process.check("mark", options.sandbox, options.image)
    settings = Settings(options.lesson, options.seconds, options.sandbox, options.image)
    course = Course(settings.lesson)
    table = None
    if options.fill:  # whether it can be filled is said before the marking, which takes longer
        table = schools.read(options.fill, assignment=options.assignment, title=course.lesson.title)
    with _executor(options) as executor:
        all_marks = mark(options.handed_in, options.output, settings, executor, assignment=options.assignment)
    for protection in sorted({one.protection for one in all_marks if one.protection}):
        print(f"Protection: {protection}")
    marked = sum(not one.reason for one in all_marks)
    print(
        f"Marked {marked} of {len(all_marks)}: {options.output}, {options.output.with_suffix('') / 'index.html'}"
    )
    if options.feedback:
        hand_back.write(all_marks, options.output.with_suffix(""), options.handed_in, options.feedback)
        print(f"Pages to hand back: {options.feedback}")
    if table:
        filled = options.output.with_name(f"filled_{options.fill.name}")
        sentences = table.fill(all_marks, len(course.of_exercise), scale=options.scale)
        _write(filled, table.content())
        print(f"Filled in: {filled}")
        for sentence in sentences:  # a name may hold anything
            print(printable(re.sub(r"[\x00-\x1f\x7f-\x9f]", "?", sentence)))


@contextlib.contextmanager
def _executor(options: argparse.Namespace) -> Iterator[Executor]:
    """Open what submissions are handed to: processes of this machine, or a Dask cluster."""
    if not options.scheduler:
        # not forked from here, so that no worker begins with the teacher's state
        with ProcessPoolExecutor(
            options.workers, mp_context=multiprocessing.get_context("spawn")
        ) as executor:
            yield executor
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError('mark: --scheduler needs Dask: pip install "distributed>=2025.1"') from error
    try:
        client = Client(options.scheduler, timeout=10)
    except (OSError, ValueError) as error:
        raise ValueError(f"mark: there is no Dask scheduler at {options.scheduler!r}") from error
    with client, client.get_executor() as executor:
        yield executor


if __name__ == "__main__":
    sys.exit(main())
