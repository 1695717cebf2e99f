import time
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

from remit.core.policy import Policy

WORK_S: Final = 0.001
PAUSE_S: Final = 0.004
"""Duty cycle beside a server that answers: one millisecond of the interpreter's time, then four for the calls."""
_LOOK_EVERY: Final = 16
"""Items between two readings of the clock."""

_Item = TypeVar("_Item")


def throttled(items: Iterable[_Item], /) -> Iterator[_Item]:
    """The items, with a pause of REST_S whenever this thread has worked on them for WORK_S."""
    until = time.thread_time() + WORK_S
    for number, item in enumerate(items):
        if number % _LOOK_EVERY == 0 and time.thread_time() > until:
            time.sleep(PAUSE_S)
            until = time.thread_time() + WORK_S
        yield item


def free_gradually(policy: Policy) -> Iterator[None]:
    """Frees the rows of a replaced policy in pieces: to free all at once would delay calls. Start it while the policy's
    snapshot is alive, and continue when the last other reference is gone."""
    rows = [*policy.rules, *policy.links, *policy.reach]
    del policy
    yield
    for _ in throttled(range(len(rows))):
        rows.pop()
