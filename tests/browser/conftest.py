"""A chromium for the tests of this folder: $CHROMIUM, or the system's."""

import sys

import pytest
from playwright.sync_api import sync_playwright

from coursekit.teaching import catalogue

sys.path.insert(0, str(catalogue.REPOSITORY / "docs"))

from website.chromium import ARGUMENTS, chromium


@pytest.fixture(scope="module")  # not longer: Playwright runs once at a time
def browser():
    try:
        executable = chromium()
    except RuntimeError as problem:
        pytest.exit(str(problem), returncode=1)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield running
        running.close()
