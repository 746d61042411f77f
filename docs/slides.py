"""Build the slides: python docs/slides.py [NUMBER ...] [-o FOLDER]. Offline; the lessons are not run."""

import argparse
import shutil
import sys
from pathlib import Path

from website.slides import copy_static, write_decks

from coursekit.teaching import catalogue, commands

DOCS = Path(__file__).parent


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Build the slides of the lessons, for the room.")
    parser.add_argument("numbers", nargs="*", metavar="NUMBER", help="lessons, such as 03 09 (default: all)")
    parser.add_argument("-o", "--destination", type=Path, default=DOCS.parent / "build" / "slides")
    options = parser.parse_args(arguments)

    def command() -> None:
        lessons = catalogue.select(" ".join(options.numbers))
        shutil.rmtree(options.destination, ignore_errors=True)
        write_decks(lessons, options.destination)
        copy_static(DOCS, options.destination)
        print(f"Open {options.destination / 'index.html'}")

    return commands.run(command)


if __name__ == "__main__":
    sys.exit(main())
