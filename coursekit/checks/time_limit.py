"""Stop code that does not end, without ever breaking an import in two."""

import _thread
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

TIME_LIMIT_S = 5
_TICK_S = 0.1
_ASLEEP = 0.05  # share of the processor below which a tick counts as sleep, not as a busy machine
_SCHEDSTAT = Path("/proc/self/schedstat")  # the main thread's nanoseconds: at work, waiting for a processor


class Stopped(BaseException):
    """Raised inside an attempt that has used up its time; no Exception, so `except Exception` lets it through."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise Stopped in the block once it has used `seconds` of the processor, or slept as long.

    So a machine that is busy with other things stops nobody. Imports do not count and are never interrupted: a module
    that is left half-done breaks whatever uses it later. Code inside a C extension is stopped when it returns. It
    works in the main thread, where notebooks run their cells; elsewhere the block may take as long as it likes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
    elif hasattr(signal, "setitimer"):
        with _by_timer(seconds), _quiet_where_swallowed():
            yield
    else:  # Windows
        with _by_watchdog(seconds), _quiet_where_swallowed():
            yield


@contextlib.contextmanager
def _quiet_where_swallowed() -> Iterator[None]:
    """Print nothing where a destructor or the garbage collector swallows Stopped: the next tick raises it again."""
    before = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        if not issubclass(unraisable.exc_type, Stopped | KeyboardInterrupt):
            before(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


class _Clock:
    """Adds up the time that code uses, looked at every now and then.

    `used` tells the seconds on a processor, `waited` those spent waiting for one, `now` those on the wall.
    """

    def __init__(
        self,
        limit: float,
        used: Callable[[], float],
        waited: Callable[[], float],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit, self._clocks = limit, (now, used, waited)
        self._busy = self._asleep = 0.0
        self._last = self._read()

    def _read(self) -> list[float]:
        return [clock() for clock in self._clocks]

    def is_over(self, frame: FrameType | None) -> bool:
        """Return whether the limit is reached, while code is at `frame`."""
        before, self._last = self._last, self._read()
        passed, worked, waited = (now - then for now, then in zip(self._last, before, strict=True))
        if _is_importing(frame):
            return False
        if worked < _ASLEEP * passed:
            self._asleep += passed - waited
        else:
            self._busy += worked
        return self._busy >= self._limit or self._asleep >= self._limit


def _seconds_waited() -> float:
    """Return how long the main thread has waited for a processor: 0 where the system does not tell (not Linux)."""
    try:
        return int(_SCHEDSTAT.read_text(encoding="ascii").split()[1]) / 1e9
    except OSError:
        return 0.0


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@contextlib.contextmanager
def _by_timer(seconds: float) -> Iterator[None]:
    """Let a POSIX timer look at the clock, which raises where the code is: also out of a sleep."""
    clock = _Clock(seconds, time.thread_time, _seconds_waited)

    def look(_: int, frame: FrameType | None) -> None:
        if clock.is_over(frame):
            raise Stopped  # and again at the next tick: a bare `except:` swallows one

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, _TICK_S, _TICK_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _by_watchdog(seconds: float) -> Iterator[None]:
    """Let a thread look at the clock and interrupt the main thread, as the stop button does, until the block ends."""
    ended, interrupted, lock = threading.Event(), threading.Event(), threading.Lock()
    clock = _Clock(seconds, time.process_time, _seconds_waited)
    main = threading.main_thread().ident

    def watch() -> None:
        while not ended.wait(_TICK_S):
            with lock:
                if not ended.is_set() and clock.is_over(sys._current_frames().get(main)):
                    interrupted.set()
                    _thread.interrupt_main()

    watchdog = threading.Thread(target=watch, daemon=True)
    # where interrupts are ignored, as in a job that a script put into the background, interrupt_main does nothing
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    watchdog.start()
    try:
        yield
    except KeyboardInterrupt:
        if interrupted.is_set():
            raise Stopped from None
        raise
    finally:
        with lock:
            ended.set()
        with contextlib.suppress(KeyboardInterrupt):  # one that was on its way when the block ended
            watchdog.join()
        signal.signal(signal.SIGINT, before)
