"""Three repairs for nbval 0.11, loaded with `-p tests.plugins.nbval_repairs`.

1. It reads a cell's messages only after the cell has ended; past some thousand of them the queue overflows and
   messages are lost. Here they are read while the cell runs.
2. It does not notice that a kernel has died, and waits for the cell's time-out. Here it is noticed at once.
3. One failing cell makes all later ones fail. Here they are skipped, naming the cell that failed.

It also sums up the seconds that each notebook took.
"""

import os
import time
from collections import Counter, deque
from queue import Empty

import nbval.kernel
import pytest

os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")

_Kernel = nbval.kernel.RunningKernel
_read_one = _Kernel.get_message


def _buffer(kernel) -> deque:
    return kernel.__dict__.setdefault("_messages_read_early", deque())


def _get_message(self, stream, timeout=None):
    if stream == "iopub" and _buffer(self):
        return _buffer(self).popleft()
    return _read_one(self, stream, timeout=timeout)


def _await_reply(self, msg_id, timeout=None):
    deadline = time.monotonic() + (timeout or float("inf"))
    while True:
        try:
            while True:
                _buffer(self).append(self.kc.get_iopub_msg(timeout=0))
        except Empty:
            pass
        try:
            reply = self.kc.get_shell_msg(timeout=0.05)
        except Empty:
            if not self.is_alive():
                raise RuntimeError("the kernel died while this cell ran (out of memory?)") from None
            if time.monotonic() > deadline:
                raise
            continue
        if reply["parent_header"].get("msg_id") == msg_id:
            if reply["content"]["status"] == "aborted":
                raise RuntimeError("the kernel gave up the cell unrun")
            return


_Kernel.get_message, _Kernel.await_reply = _get_message, _await_reply

_first_failure = {}


def _is_cell(item) -> bool:
    return type(item).__name__ == "IPyNbCell"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if _is_cell(item) and report.failed:
        _first_failure.setdefault(item.parent.nodeid, item.cell_num)
    return report


def pytest_runtest_setup(item):
    if _is_cell(item) and item.parent.nodeid in _first_failure:
        pytest.skip(f"code cell {_first_failure[item.parent.nodeid]} of this notebook failed")


def pytest_terminal_summary(terminalreporter):
    seconds = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if ".ipynb::" in getattr(report, "nodeid", ""):
                seconds[report.nodeid.split("::")[0]] += getattr(report, "duration", 0)
    if seconds:
        terminalreporter.section("seconds per notebook")
        for notebook, total in seconds.most_common():
            terminalreporter.write_line(f"{total:7.1f}  {notebook}")
