"""Build the website: python docs/build.py [-o FOLDER]. Offline; a warning is an error. With --map, draw docs/map.svg.

The pages are put together in FOLDER/source, from docs/, the notebooks and the modules of exercises, and built to
FOLDER/html.
"""

import argparse
import shutil
import sys
from pathlib import Path

from sphinx.cmd.build import build_main
from website import course_map
from website.staging import stage

from coursekit.teaching import catalogue

DOCS = Path(__file__).parent


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Build the website of the course.")
    parser.add_argument("-o", "--destination", type=Path, default=DOCS.parent / "build" / "site")
    parser.add_argument(
        "--notebooks", type=Path, default=DOCS.parent / "notebooks", help="folder with the lessons"
    )
    parser.add_argument("--map", action="store_true", help="draw the map of the README instead, docs/map.svg")
    options = parser.parse_args(arguments)
    if options.map:
        course_map.MAP.write_text(course_map.svg(catalogue.lessons(options.notebooks)), encoding="utf-8")
        return 0
    source, html = options.destination / "source", options.destination / "html"
    shutil.rmtree(options.destination, ignore_errors=True)
    stage(DOCS, options.notebooks, source)
    # every reference must resolve, every warning is an error, and all of them are shown
    strict = ["-n", "-W", "--keep-going"]
    folders = ["-c", str(DOCS), "-d", str(options.destination / "doctrees"), str(source), str(html)]
    status = build_main(["-q", "-j", "2", *strict, *folders])
    if status == 0:
        print(f"Open {html / 'index.html'}")
    return status


if __name__ == "__main__":
    sys.exit(main())
