from bisect import insort
from collections import defaultdict
from collections.abc import Mapping
from operator import attrgetter
from typing import Final, NamedTuple

# Records are committed out of the order of their ids by the time that calls take, or by what a clock was set back.
# Past this many a chain's furthest are let go, and met again in another round.
_MOST_WAITING: Final = 10_000

_seq = attrgetter("seq")


class DecisionChain(NamedTuple):
    """A chain of decisions."""

    tenant: str
    node: str


class PurgedRecord(NamedTuple):
    """What a purge reads of a record."""

    id: bytes
    whose: DecisionChain
    seq: int
    hash: bytes


class Resequencer:
    """Hands records on in the order of their chains, whatever order they are met in: so that what has been handed on is
    at any moment a whole prefix of each chain."""

    def __init__(self, gone: Mapping[DecisionChain, int], most_waiting: int = _MOST_WAITING) -> None:
        """`gone` are the chains that have lost a prefix already, and its last number."""
        self._gone = defaultdict(int, gone)
        self._most_waiting = most_waiting
        self._waiting: defaultdict[DecisionChain, list[PurgedRecord]] = defaultdict(list)
        self.overlooked = 0
        """Records that were met, and that there was no room to keep until their turn."""

    def meet(self, record: PurgedRecord) -> list[PurgedRecord]:
        """Those whose turn has come. A record outside of any chain has no turn to wait for."""
        if not record.seq:
            return [record]
        waiting = self._waiting[record.whose]
        insort(waiting, record, key=_seq)
        gone = self._gone[record.whose]
        handed: list[PurgedRecord] = []
        for each in waiting:
            if each.seq > gone + 1:
                break
            gone = max(gone, each.seq)
            handed.append(each)
        del waiting[: len(handed)]
        self._gone[record.whose] = gone
        if len(waiting) > self._most_waiting:
            waiting.pop()
            self.overlooked += 1
        return handed

    @property
    def waiting(self) -> list[PurgedRecord]:
        """Those that follow a record which was not met."""
        return [record for waiting in self._waiting.values() for record in waiting]
