"""Counts calls that limits refused, by caller. The store of records knows nothing of them."""

from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from typing import Final, NamedTuple

from remit.clock import now_us

MOST_KEYS: Final = 256
"""Callers by class and limit that are told apart. Further ones are counted together. Workers send all of them to each
other every second."""


class LimitHit(NamedTuple):
    caller: str
    """Empty for a call that names no caller yet, and for all callers that found no room."""
    calls: str
    """The class of calls."""
    reason: str


class HitCount(NamedTuple):
    refused: int
    last_us: int


class LimitsHit:
    """Since the start of this process. Safe to share between threads."""

    def __init__(self, clock_us: Callable[[], int] = now_us) -> None:
        self._clock_us = clock_us
        self._mutex = Lock()
        self._counts: dict[LimitHit, HitCount] = {}

    def add(self, calls: str, reason: str, caller: str) -> None:
        at_us = self._clock_us()
        hit = LimitHit(caller, calls, reason)
        with self._mutex:
            if hit not in self._counts and len(self._counts) >= MOST_KEYS:
                hit = LimitHit("", calls, reason)
            before = self._counts.get(hit)
            self._counts[hit] = HitCount(before.refused + 1 if before is not None else 1, at_us)

    def counts(self) -> dict[LimitHit, HitCount]:
        with self._mutex:
            return dict(self._counts)


def together(counts: Iterable[Mapping[LimitHit, HitCount]]) -> list[tuple[LimitHit, HitCount]]:
    """The counts of several processes as sums, the limit that refused most calls first."""
    sums: dict[LimitHit, HitCount] = {}
    for each in counts:
        for hit, count in each.items():
            before = sums.get(hit, HitCount(0, 0))
            sums[hit] = HitCount(before.refused + count.refused, max(before.last_us, count.last_us))
    return sorted(sums.items(), key=lambda found: (-found[1].refused, found[0]))
