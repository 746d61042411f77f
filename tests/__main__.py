"""Run the tests, on every operating system; `make test` and `make test-lessons` call this.

python -m tests                               lint, unit and structure tests, every lesson once on the sample
python -m tests lessons 03 09                 these lessons solved on the full data, in JupyterLab, and as on Colab
python -m tests lessons 03 --form solved      only solved, on the sample
python -m tests lessons --today               those touched in the last six hours, and a fifth of the others
python -m tests site                          the website
"""

import argparse
import os
import subprocess
import sys
from datetime import date

from coursekit.teaching import catalogue, commands
from coursekit.teaching.catalogue import REPOSITORY, Lesson
from coursekit.teaching.solve import solve
from tests.forms import FORMS, Form
from tests.todays_lessons import todays

# One thread a worker: two workers with two threads each are three times slower on two cores.
_WORKERS = {"OMP_NUM_THREADS": "1"}
_BY_FILE = ["--dist", "loadfile"]
_PYTEST = [sys.executable, "-m", "pytest", "-n", "2", "-p", "tests.forms"]


def everything() -> int:
    """Lint, run the unit and structure tests, and every lesson once; return 0 if all is well."""
    for check in (["check"], ["format", "--check"]):
        if status := subprocess.run([sys.executable, "-m", "ruff", *check, "."], cwd=REPOSITORY).returncode:
            return status
    return _pytest(FORMS["student"], catalogue.lessons(), "tests")


def lessons(chosen: list[Lesson], forms: list[str]) -> int:
    """Test some lessons in some forms, each form to its end; return 0 if all is well."""
    statuses = []
    for name in forms:
        form = FORMS[name]
        print(f"\n{', '.join(lesson.stem for lesson in chosen)}: {form.words}", flush=True)
        if form.environment.get("COURSEKIT_STRICT"):
            solve([lesson.path for lesson in chosen], REPOSITORY / form.where)
        statuses.append(_pytest(form, chosen))
    return max(statuses)


def site() -> int:
    """Build the website, the slides and the PDFs, and read them in a browser; return 0 if all is well."""
    in_a_browser = [f"tests/browser/test_{name}.py" for name in ("website", "projector", "paper")]
    command = [*_PYTEST, *_BY_FILE, "tests/test_site.py", "tests/test_slides.py", *in_a_browser]
    return subprocess.run(command, cwd=REPOSITORY, env=os.environ | _WORKERS).returncode


def _pytest(form: Form, chosen: list[Lesson], *more: str) -> int:
    environment = os.environ | _WORKERS | form.variables(chosen)
    return subprocess.run(
        [*_PYTEST, *form.command(chosen), *more], cwd=REPOSITORY, env=environment
    ).returncode


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    rings = parser.add_subparsers(dest="ring")
    rings.add_parser("site", help="the website")
    ring = rings.add_parser("lessons", help="lessons in all their forms")
    ring.add_argument("numbers", nargs="*", metavar="NUMBER", help="lessons, such as 03 09 (default: all)")
    ring.add_argument(
        "--today", action="store_true", help="those touched in the last six hours, and a fifth of the others"
    )
    ring.add_argument("--form", nargs="+", choices=FORMS, default=["full", "browser", "colab"])
    options = parser.parse_args(arguments)
    if options.ring != "lessons":
        return site() if options.ring == "site" else everything()

    def command() -> int:
        chosen = todays(date.today()) if options.today else catalogue.select(" ".join(options.numbers))
        return lessons(chosen, options.form)

    return commands.run(command)


if __name__ == "__main__":
    sys.exit(main())
