"""What a kernel needs to run a cell a second time as it ran first: the random numbers of then.

A cell that draws random numbers gives others when it is run again. To see whether it does what it did, the state of all
generators before each cell is remembered, and recalled before the second run.
"""

from coursekit import runtime

REMEMBER = "__import__('coursekit.teaching.rerun', fromlist=['']).remember({number})"
RECALL = "__import__('coursekit.teaching.rerun', fromlist=['']).recall({number})"

_states = {}


def remember(number: int) -> None:
    """Keep the state of the random generators before cell `number`."""
    _states[number] = runtime.random_state()


def recall(number: int) -> None:
    """Put the random generators back to the state before cell `number`."""
    runtime.set_random_state(_states[number])
