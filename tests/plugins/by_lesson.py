"""Keep all tests of a lesson on one worker, since they share its run: `-p tests.plugins.by_lesson`.

pytest-xdist 3.8 has the mark `xdist_group` for it, which does nothing with pytest 9.2.
"""

import re

from xdist.scheduler import LoadScopeScheduling


class ByLesson(LoadScopeScheduling):
    """Tests with the name of a lesson as their only parameter go by lesson, others by file."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, case = nodeid.partition("::")
        lesson = re.search(r"\[(\d\d_\w+)\]$", case)
        return f"{file} {lesson[1]}" if lesson else file


def pytest_xdist_make_scheduler(config, log):
    return ByLesson(config, log)
