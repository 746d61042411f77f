"""A chromium to print and to test with: $CHROMIUM, or the system's."""

import os
import shutil

# as root, in a container, without a screen; and nothing fetched that nobody asked for
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]


def chromium() -> str:
    """Return the path of a chromium. Raises RuntimeError, with a word on how to get one, where there is none."""
    for name in (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    raise RuntimeError("No chromium: `apt-get install chromium`, or put the path of one into $CHROMIUM.")
