"""The names that policies use: those of a revision are sorted once, beside the decisions, and kept for a while."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar
from weakref import ReferenceType, ref

from remit.core.names import Tenant
from remit.engine.queries.names import NameIndex
from remit.engine.snapshot import Snapshot
from remit.policy.build.throttle import throttled
from remit.service.beside_decisions import KeptAnswers
from remit.service.errors import StillComputingError

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class _Sorted:
    revision: str
    snapshot: ReferenceType[Snapshot] = field(compare=False)
    """An index that is kept keeps no policy that is replaced: whoever waits for it does."""

    @property
    def still(self) -> str:
        return f"the names of `{self.revision[:12]}` are still being sorted"


class NameIndexes:
    """Sorts the names of one policy at a time, with pauses; the tenants take turns."""

    def __init__(self) -> None:
        self._answers = KeptAnswers("remit-names", self._index)
        self._stopped = False

    def begin(self) -> None:
        self._answers.begin()

    def stop(self) -> None:
        """Aborts what is being sorted."""
        self._stopped = True
        self._answers.stop()

    def of(self, snapshot: Snapshot, timeout_s: float) -> NameIndex:
        """Raises TooManyWaitingError, and StillComputingError if it takes longer than `timeout_s`."""
        wanted = _Sorted(snapshot.revision, ref(snapshot))
        return self._answers.answer(snapshot.tenant, wanted, timeout_s, wanted.still)

    def _index(self, _tenant: Tenant, wanted: _Sorted) -> NameIndex:
        snapshot = wanted.snapshot()
        if snapshot is None:
            raise StillComputingError(f"{wanted.still}: ask again")

        def paced(items: Iterable[_Item], /) -> Iterator[_Item]:
            for item in throttled(items):
                if self._stopped:
                    raise StillComputingError(f"{wanted.still}, and the server stops")
                yield item

        return NameIndex.of(snapshot.policy, paced)
