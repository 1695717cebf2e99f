"""Imports: up to a million rows of run time as one change.

The gates work beside the store, on what serves. The transaction then writes the rows only if nobody has changed the tenant
meanwhile.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from remit.core.names import Principal, Tenant
from remit.core.position import Position
from remit.core.rows import Link
from remit.core.runtime import RuntimeRow
from remit.engine.snapshot import Snapshot
from remit.fleet.binding_reads import BindingState, state
from remit.fleet.bindings import BindingChange, GrantedRow, RowKey
from remit.fleet.change import PolicyChange, position_of
from remit.fleet.store import PolicyStore
from remit.policy.ceiling import Ceiling
from remit.policy.live import LivePolicies, Requirement
from remit.service.bindings.gates import BindingGates
from remit.service.bindings.records import BindingRecords
from remit.service.bindings.work import BindingWork, require_as_granted
from remit.service.decision_point import CallTerms
from remit.service.errors import BindingConflictError, BindingRefusedError
from remit.service.runtime_links import RuntimeLinks

IMPORT_LIMIT: Final = 1_000_000
"""Rows of one import."""
IMPORT_S: Final = 600.0
"""The longest that an import takes, from its first message on."""
STATEMENT_S: Final = 120.0
"""How long the store may take for one statement of an import."""


@dataclass(frozen=True, slots=True)
class BindingImport:
    tenant: Tenant
    granter: Principal
    """Whose rights the import needs."""
    rows: Mapping[RowKey, RuntimeRow]
    """In the order in which they came."""
    expected: Position | None = None
    """Only if this is the tenant's newest position."""
    request_id: str = ""
    reason: str = ""
    replace: bool = False
    """Revokes all other rows of run time."""
    dry_run: bool = False


class ImportOutcome(NamedTuple):
    position: Position
    """From which on the change serves; of the newest change, if nothing was changed."""
    granted: int = 0
    revoked: int = 0
    already: int = 0
    repeated: bool = False
    """An earlier import of this name made the change."""


class BindingImports:
    def __init__(
        self, store: PolicyStore, live: LivePolicies, gates: BindingGates, records: BindingRecords, wait_s: float
    ) -> None:
        """`store` must allow `STATEMENT_S` for a statement. `wait_s` is how long an import waits for this node to serve what
        others changed before."""
        self._store = store
        self._live = live
        self._gates = gates
        self._records = records
        self._wait_s = wait_s

    def load(self, request: BindingImport, terms: CallTerms) -> ImportOutcome:
        """Makes all of the import or nothing. Raises as `BindingPoint.change`."""
        tenant, until_s = request.tenant, time.monotonic() + terms.timeout_s
        while True:
            if request.request_id and (made := self._made(request)) is not None:
                return self._repeated(made, request, terms)
            before = state(self._store, tenant)
            newest = position_of(tenant, before.head)
            if request.expected is not None and request.expected != newest:
                raise BindingConflictError(f"tenant `{tenant}` is at position `{newest}`, not at `{request.expected}`")
            snapshot = self._gates.snapshot(tenant)
            outcome = self._loaded(request, before, snapshot, terms) if snapshot.position == newest else None
            if outcome is not None:
                return outcome
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                raise BindingConflictError(f"others change tenant `{tenant}` all the time: try again")
            self._live.snapshot_at(tenant, Requirement(at_least=newest), min(left_s, self._wait_s))

    def _made(self, request: BindingImport) -> PolicyChange | None:
        with self._store.changing(request.tenant) as write:
            return write.made_by(request.request_id)

    def _loaded(
        self, request: BindingImport, state_before: BindingState, before: Snapshot, terms: CallTerms
    ) -> ImportOutcome | None:
        """None if somebody else changed the tenant meanwhile."""
        tenant, newest = request.tenant, position_of(request.tenant, state_before.head)
        work, already = _work_of_import(request, state_before, before)
        if not work.granted and not work.removed:
            return ImportOutcome(newest, already=already)
        after = self._gates.sound(work, before)
        self._gates.require(request.granter, work, before, after, terms)
        del after
        change = work.change(request.granter, request.reason)
        granted, revoked = len(work.granted), len(work.only_removed_keys)
        if request.dry_run:
            return ImportOutcome(newest, granted, revoked, already)
        with self._store.changing(tenant) as write:
            if write.head != state_before.head:
                return None
            head = write.commit(change, terms.origin.caller, request.request_id)
        self._live.ask_for_news()
        position = position_of(tenant, head)
        self._records.add(terms, position, change, request.request_id, imported=granted, removed=revoked)
        return ImportOutcome(position, granted, revoked, already)

    def _repeated(self, made: PolicyChange, request: BindingImport, terms: CallTerms) -> ImportOutcome:
        """Rows that were as the import wants them are not in the change."""
        change, position = BindingChange.parse(made.body), position_of(request.tenant, made.head)
        same = change.granter == request.granter and all(
            request.rows.get(RowKey.of(row)) == row for row in change.granted
        )
        revoked = change.only_revoked
        if not same or (revoked and not request.replace) or any(key in request.rows for key in revoked):
            raise BindingConflictError(
                f"change {made.seq} has the request id `{request.request_id}`, and is another change"
            )
        counts = {"imported": len(change.granted), "removed": len(revoked)}
        self._records.add(terms, position, change, request.request_id, repeated=True, **counts)
        return ImportOutcome(position, repeated=True)


def _work_of_import(request: BindingImport, state_before: BindingState, before: Snapshot) -> tuple[BindingWork, int]:
    """What changes, and how many rows are so already. Raises BindingRefusedError for the first row that the files do not
    open."""
    now_us, seq = state_before.now_us, state_before.head.seq + 1
    served = RuntimeLinks(before)
    known: dict[RowKey, GrantedRow] = {}
    ended: dict[RowKey, Link | None] = {}
    for each in state_before.rows:
        key = RowKey.of(each.row)
        if each.row.counts(now_us):
            known[key] = each
        else:
            ended[key] = require_as_granted(served, key, each)
    ceiling, already = Ceiling(before.policy), 0
    granted: list[RuntimeRow] = []
    removed: dict[RowKey, Link | None] = {}
    for number, (key, row) in enumerate(request.rows.items(), 1):
        held = known.get(key)
        # A row that has ended is not held, and its g row may still be there.
        link = None if key in ended else require_as_granted(served, key, held)
        if held is not None and held.row.expires_us == row.expires_us:
            already += 1
            continue
        if why := ceiling.refusal(row, now_us):
            raise BindingRefusedError(f"row {number:,} of the import: {key.text}: {why}")
        if held is not None:
            removed[key] = link
        granted.append(row)
    if request.replace:
        others = dict.fromkeys((*known, *served.keys())).keys() - request.rows.keys() - ended.keys()
        removed |= {key: require_as_granted(served, key, known.get(key)) for key in sorted(others)}
    added = [row.link(request.tenant, seq) for row in granted]
    ending = (each for each in known.values() if each.row.expires_us is not None)
    return BindingWork(now_us, granted, added, removed, ended, ending), already
