"""The command line of the exam; see the package."""

import argparse
import contextlib
import secrets
import sys
from pathlib import Path

from coursekit.teaching import commands
from coursekit.teaching.exam import folders, results
from coursekit.teaching.exam.rerun import SECONDS, Rerun
from coursekit.teaching.marking import process

_GUESSED_BELOW = 2**64


def make(destination: Path, seed: str | None, train: int, test: int) -> None:
    """Make an exam, say what it is like and what is to be kept secret. Raises ValueError for a seed that is none."""
    try:
        number = secrets.randbits(128) if seed is None else int(seed)
    except ValueError:
        raise ValueError(f"exam: the seed must be an integer from 0 on, such as 2027, not {seed!r}") from None
    baseline, reference = folders.build(destination, number, train=train, test=test)
    print(f"Wrote {destination / 'students'}, to be handed out, and {destination / 'teacher'}, to be kept.")
    print(f"baseline   {baseline}\nreference  {reference}")
    if number < _GUESSED_BELOW:
        print(
            f"The seed {number} can be guessed, and whoever has it and this package has the labels. "
            "Leave --seed out for an exam that counts."
        )


def score(options: argparse.Namespace) -> None:
    """Print and write the scores of what was handed in; ValueError for what is not there."""
    students = options.students or options.teacher.parent / "students"
    with contextlib.ExitStack() as stack:
        rerun = None
        if options.rerun:
            how = {"sandbox": options.sandbox, "image": options.image, "seconds": options.seconds}
            rerun = stack.enter_context(contextlib.closing(Rerun(students, **how)))
            print(f"Protection: {rerun.protection}")
        found = results.score_all(options.handed_in, options.teacher, rerun=rerun)
    rows = [*found, *results.ours(options.teacher)]
    print(results.table(rows))
    if options.destination:
        results.write(options.destination, rows)
        print(f"Wrote {options.destination}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["score"]:
        options = _scoring().parse_args(given[1:])
        return commands.run(lambda: score(options))
    parser = argparse.ArgumentParser(
        prog="python -m coursekit.teaching.exam",
        description="Make an exam. `score HANDED_IN` scores what was handed in; see `score --help`.",
    )
    parser.add_argument("-o", "--destination", type=Path, required=True, help="folder to write, new or empty")
    parser.add_argument("--seed", help="an integer from 0 on; by default a secret one of 128 bits is drawn")
    parser.add_argument("--events", type=int, default=6000, help="training events (default: 6000)")
    parser.add_argument("--test-events", type=int, default=4000, help="test events (default: 4000)")
    options = parser.parse_args(given)
    return commands.run(lambda: make(options.destination, options.seed, options.events, options.test_events))


def _scoring() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m coursekit.teaching.exam score", description="Score what was handed in."
    )
    parser.add_argument(
        "handed_in",
        type=Path,
        help="a folder or a zip of predictions and notebooks, or one file of predictions",
    )
    parser.add_argument("--teacher", type=Path, required=True, help="the teacher's folder of the exam")
    parser.add_argument(
        "--students", type=Path, help="the students' folder (default: that beside the teacher's)"
    )
    parser.add_argument(
        "--rerun",
        action="store_true",
        help="run every notebook again, shut in, and compare its predictions",
    )
    process.add_arguments(parser)
    parser.add_argument(
        "--seconds",
        type=float,
        default=SECONDS,
        help=f"for a notebook that is run again (default: {SECONDS})",
    )
    parser.add_argument("-o", "--destination", type=Path, help="also write a table, CSV")
    return parser


if __name__ == "__main__":
    sys.exit(main())
