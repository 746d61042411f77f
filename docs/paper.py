"""Print lessons of the built website: python docs/paper.py [NUMBER ...] [-o FOLDER]. Needs chromium, no network."""

import argparse
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright
from website.chromium import ARGUMENTS, chromium
from website.paper import print_lessons

from coursekit.teaching import catalogue, commands

BUILD = Path(__file__).parents[1] / "build"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Write each lesson as a PDF, for those who read on paper.")
    parser.add_argument("numbers", nargs="*", metavar="NUMBER", help="lessons, such as 03 09 (default: all)")
    parser.add_argument("-o", "--destination", type=Path, default=BUILD / "paper")
    parser.add_argument("--site", type=Path, default=BUILD / "site" / "html", help="folder with the website")
    options = parser.parse_args(arguments)

    def command() -> None:
        lessons = catalogue.select(" ".join(options.numbers))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
            for written in print_lessons(browser, options.site, lessons, options.destination):
                print(written)
            browser.close()

    return commands.run(command)


if __name__ == "__main__":
    sys.exit(main())
