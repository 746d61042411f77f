"""Code that does not end is stopped; a busy machine and an import are no reason."""

import gc
import itertools
import signal
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


def test_code_is_stopped_where_interrupts_are_ignored_and_they_are_ignored_again_afterwards(limited):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(Stopped), limited(0.3):
            busy(60)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


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


def per_second(share):
    """Return a clock that advances by `share` whenever it is read."""
    return (share * second for second in itertools.count()).__next__


@pytest.mark.parametrize(
    ("used", "waited", "ticks"),
    [(1.0, 0.0, 5), (0.25, 0.75, 20), (0.25, 0.0, 20), (0.0, 0.0, 5), (0.03125, 0.875, 40)],
    ids=["alone", "busy machine", "busy machine that does not tell", "asleep", "asleep and waiting"],
)
def test_limit_counts_seconds_of_the_processor_or_of_sleep(used, waited, ticks):
    clock = time_limit._Clock(5, per_second(used), per_second(waited), now=per_second(1))
    over = [clock.is_over(None) for _ in range(60)]
    assert over.index(True) == ticks - 1


@pytest.mark.skipif(not time_limit._SCHEDSTAT.exists(), reason="Linux alone tells how long a thread waited")
def test_seconds_waited_for_a_processor_are_none_of_sleep():
    before = time_limit._seconds_waited()
    time.sleep(1)
    assert time_limit._seconds_waited() - before < 0.8


def test_stop_that_the_garbage_collector_swallows_is_raised_again_and_prints_nothing(limited, capsys):
    def slow(phase, info):
        busy(0.5)

    def collecting():
        gc.collect()
        busy(60)

    gc.callbacks.append(slow)
    try:
        with pytest.raises(Stopped), time_limit._quiet_where_swallowed(), limited(0.3):
            collecting()
    finally:
        gc.callbacks.remove(slow)
    assert "Stopped" not in capsys.readouterr().err


def test_other_exceptions_that_are_swallowed_are_still_printed(monkeypatch):
    class Careless:
        def __del__(self):
            raise ValueError("lost")

    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: seen.append(unraisable.exc_type))
    with time_limit.time_limit(5):
        Careless()
    assert seen == [ValueError]


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
