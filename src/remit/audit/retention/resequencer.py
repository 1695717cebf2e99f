from bisect import insort
from collections import defaultdict
from collections.abc import Mapping
from operator import attrgetter
from typing import Final, NamedTuple

# Commit order differs from id order by the duration of calls, or by the time that a clock was set back. Beyond this
# number, the records that are furthest ahead in a chain are dropped and read again in another round.
_MOST_WAITING: Final = 10_000

_seq = attrgetter("seq")


class DecisionChain(NamedTuple):
    tenant: str
    node: str


class PurgedRecord(NamedTuple):
    id: bytes
    whose: DecisionChain
    seq: int
    hash: bytes


class Resequencer:
    """Returns records in the order of their chains, whatever order they are read in.

    At any moment, the records returned are a whole prefix of each chain.
    """

    def __init__(self, gone: Mapping[DecisionChain, int], most_waiting: int = _MOST_WAITING) -> None:
        """`gone` holds the last seq of the deleted prefix of each chain that has one."""
        self._gone = defaultdict(int, gone)
        self._most_waiting = most_waiting
        self._waiting: defaultdict[DecisionChain, list[PurgedRecord]] = defaultdict(list)
        self.overlooked = 0
        """Records that were read and dropped, because there was no room to keep them."""

    def receive(self, record: PurgedRecord) -> list[PurgedRecord]:
        """Takes a record, and returns the records that are next in their chain.

        A record outside any chain is next at once.
        """
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
        """Records that follow a record which was not read."""
        return [record for waiting in self._waiting.values() for record in waiting]
