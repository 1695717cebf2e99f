import time
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

from remit.core.policy import Policy

WORK_S: Final = 0.001
PAUSE_S: Final = 0.004
"""Duty cycle beside a server that answers: one millisecond of the interpreter's time, then four for the calls."""
GLANCE_S: Final = 0.0002
"""The pause while nothing else happens. A call that has arrived meanwhile goes first, and from then on the pauses are long."""
_BUSY: Final = 0.1
"""The other threads work if they take more than this share of the processor time of this one."""
_BUSY_S: Final = 0.2
"""How long after their last work other threads are expected to work."""
_LOOK_EVERY: Final = 16
"""Items between two readings of the clock."""

_Item = TypeVar("_Item")


def throttled(items: Iterable[_Item], /) -> Iterator[_Item]:
    """The items, with a pause whenever this thread has worked on them for WORK_S: of PAUSE_S if other threads of this process
    work too, else of GLANCE_S."""
    until_s, others_s, busy_until_s = time.thread_time() + WORK_S, _others_s(), time.monotonic() + _BUSY_S
    for number, item in enumerate(items):
        if number % _LOOK_EVERY == 0 and time.thread_time() > until_s:
            time.sleep(PAUSE_S if time.monotonic() < busy_until_s else GLANCE_S)
            before_s, others_s = others_s, _others_s()
            if others_s - before_s > WORK_S * _BUSY:
                busy_until_s = time.monotonic() + _BUSY_S
            until_s = time.thread_time() + WORK_S
        yield item


def _others_s() -> float:
    """The processor time that the other threads of this process have taken."""
    return time.process_time() - time.thread_time()


def free_gradually(policy: Policy) -> Iterator[None]:
    """Frees the rows of a replaced policy in pieces: to free all at once would delay calls. Start it while the policy's
    snapshot is alive, and continue when the last other reference is gone."""
    rows = [*policy.rules, *policy.links, *policy.reach]
    del policy
    yield
    for _ in throttled(range(len(rows))):
        rows.pop()
