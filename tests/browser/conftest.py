"""A chromium for the tests of this folder: $CHROMIUM, or the system's. `make test-browser` runs them."""

import os
import shutil

import pytest
from playwright.sync_api import sync_playwright

# as root, in a container, without a screen; and nothing fetched that no test asked for
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]


def chromium() -> str:
    """Return the path of a chromium, or end the session with a word on how to get one."""
    for name in (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.exit(
        "No chromium: `apt-get install chromium`, or put the path of one into $CHROMIUM.", returncode=1
    )


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        yield running
        running.close()
