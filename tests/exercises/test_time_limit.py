"""Code that does not end is stopped; a busy machine and an import are no reason."""

import itertools
import sys
import threading
import time

import pytest

from coursekit.checks import time_limit
from coursekit.checks.time_limit import Stopped
from tests.posix import only_posix

WAYS = [
    pytest.param(time_limit._by_timer, marks=only_posix, id="timer"),
    pytest.param(time_limit._by_watchdog, id="watchdog"),
]


@pytest.fixture(params=WAYS)
def limited(request):
    """Both ways to stop code, the one for POSIX and the one for Windows."""
    return request.param


def busy(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_loop_without_end_is_stopped(limited):
    started = time.monotonic()
    with pytest.raises(Stopped), limited(0.3):
        busy(60)
    assert time.monotonic() - started < 10


def test_code_that_sleeps_too_long_is_stopped(limited):
    def sleepy():
        for _ in range(6000):
            time.sleep(0.01)

    with pytest.raises(Stopped), limited(0.3):
        sleepy()


def test_code_that_swallows_everything_once_is_stopped(limited):
    def swallowing():
        try:
            busy(60)
        except:  # noqa: E722
            busy(60)

    with pytest.raises(Stopped), limited(0.3):
        swallowing()


def test_code_that_ends_in_time_is_left_alone_and_afterwards_too(limited):
    with limited(0.3):
        busy(0.05)
    busy(0.6)


def test_stop_button_of_the_notebook_still_works(limited):
    with pytest.raises(KeyboardInterrupt), limited(5):
        raise KeyboardInterrupt


def test_import_that_takes_longer_than_the_limit_is_not_broken_in_two(limited, tmp_path, monkeypatch):
    (tmp_path / "slow_module.py").write_text(
        "import time\nuntil = time.thread_time() + 1\nwhile time.thread_time() < until:\n    pass\ndone = True\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    with limited(0.3):
        import slow_module
    assert slow_module.done
    del sys.modules["slow_module"]


@pytest.mark.parametrize(
    ("share", "ticks"), [(1.0, 5), (0.25, 20), (0.0, 5)], ids=["alone", "busy machine", "asleep"]
)
def test_limit_counts_seconds_of_the_processor_or_of_sleep(share, ticks):
    wall = itertools.count()
    used = (share * second for second in itertools.count())
    clock = time_limit._Clock(5, used=used.__next__, now=wall.__next__)
    over = [clock.is_over(None) for _ in range(30)]
    assert over.index(True) == ticks - 1


def test_beside_the_main_thread_there_is_no_limit():
    ended = []

    def work():
        with time_limit.time_limit(0.05):
            busy(0.3)
        ended.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended
