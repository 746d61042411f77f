"""Build the website: python docs/build.py [-o FOLDER]. Offline; a warning is an error.

The pages are put together in FOLDER/source, from docs/, the notebooks and the modules of exercises, and built to
FOLDER/html.
"""

import argparse
import shutil
import sys
from pathlib import Path

from sphinx.cmd.build import build_main
from website.staging import stage

DOCS = Path(__file__).parent


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Build the website of the course.")
    parser.add_argument("-o", "--destination", type=Path, default=DOCS.parent / "build" / "site")
    parser.add_argument(
        "--notebooks", type=Path, default=DOCS.parent / "notebooks", help="folder with the lessons"
    )
    options = parser.parse_args(arguments)
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
