"""All that a node does about rows of run time."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Self

from remit.core.names import Tenant
from remit.core.position import Position
from remit.fleet.binding_reads import PassedChange, begin_after, changes_after
from remit.fleet.journal import ReleaseJournal
from remit.fleet.store import PolicyStore
from remit.policy.live import LivePolicies
from remit.policy.read.limits import Limits
from remit.service.bindings.gates import BindingGates
from remit.service.bindings.imports import BindingImports
from remit.service.bindings.point import BindingPoint
from remit.service.bindings.records import BindingRecords
from remit.service.decision_point import DecisionPoint

_LOOK_EVERY_S = 5.0
"""How often a watch looks whether it may go on, without news."""


class BindingServices(NamedTuple):
    store: PolicyStore
    """For reads."""
    point: BindingPoint
    imports: BindingImports
    journal: ReleaseJournal
    live: LivePolicies

    @classmethod
    def of(
        cls,
        store: PolicyStore,
        patient: PolicyStore,
        journal: ReleaseJournal,
        live: LivePolicies,
        point: DecisionPoint,
        *,
        record: Callable[[str, str, str, dict[str, Any]], None],
        limits: Limits,
        wait_s: float,
        signs: bool,
    ) -> Self:
        """`patient` is the same store as `store`, for imports: its statements may take long. Unless this node `signs`,
        nothing is granted here."""
        gates, records = BindingGates(journal, live, point, limits, signs=signs), BindingRecords(record)
        return cls(
            store,
            BindingPoint(store, live, gates, records, wait_s),
            BindingImports(patient, live, gates, records, wait_s),
            journal,
            live,
        )

    def watch(
        self, tenant: Tenant, after: Position | None, go_on: Callable[[], None]
    ) -> Iterator[Sequence[PassedChange]]:
        """The changes after a position, without an end: as soon as this node knows of them.

        `go_on` raises what ends the watch. Raises HistoryLostError if the tenant's history does not hold the position, or
        another history takes its place.
        """
        head, seen = begin_after(self.store, tenant, after), -1
        while True:
            go_on()
            current = self.journal.current()
            here = current.tenants.get(tenant) if current is not None else None
            if here is None or here.head != head:
                passed = changes_after(self.store, tenant, head)
                yield passed.found
                if passed.head != head:
                    head = passed.head
                    continue
            seen = self.live.changed_since(seen, _LOOK_EVERY_S)
