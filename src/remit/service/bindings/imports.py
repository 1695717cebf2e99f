"""Imports: up to a million rows of run time as one change.

The gates work beside the store, on what serves. The transaction that writes the rows passes those again that what others
changed meanwhile is about.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final, NamedTuple

from remit.audit.chain.chain import Head
from remit.core.names import Principal, Subject, Tenant
from remit.core.position import Position
from remit.core.rows import Link
from remit.core.runtime import RuntimeRow
from remit.engine.snapshot import Snapshot
from remit.fleet.binding_reads import BindingState, changes_after, state
from remit.fleet.bindings import BindingChange, GrantedRow, RowKey
from remit.fleet.change import PolicyChange, position_of
from remit.fleet.store import PolicyStore
from remit.fleet.writes import TenantWrite
from remit.policy.ceiling import Ceiling
from remit.policy.live import LivePolicies, Requirement, RevisionNotCurrentError
from remit.service.bindings.gates import BindingGates, NotServedYetError
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
_BEHIND_S: Final = 1.0
"""How long nobody changes a tenant while this node begins to serve what others changed beside an import."""
_MOST_AGAIN: Final = 5_000
"""Rows of an import that pass the gates again in its transaction. With more, all of them do, beside it."""


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
        waited = False
        while True:
            if request.request_id and (made := self._made(request)) is not None:
                return self._repeated(made, request, terms)
            before, snapshot = self._begin(tenant, alone=waited)
            newest = position_of(tenant, before.head)
            if request.expected is not None and request.expected != newest:
                raise BindingConflictError(f"tenant `{tenant}` is at position `{newest}`, not at `{request.expected}`")
            try:
                outcome = self._loaded(request, before, snapshot, terms) if snapshot.position == newest else None
            except NotServedYetError:
                outcome = None
            if outcome is not None:
                return outcome
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                raise BindingConflictError(f"others change tenant `{tenant}` all the time: try again")
            self._live.snapshot_at(tenant, Requirement(at_least=newest), min(left_s, self._wait_s))
            waited = True

    def _begin(self, tenant: Tenant, *, alone: bool) -> tuple[BindingState, Snapshot]:
        """The rows, and what serves. If `alone`, nobody changes the tenant until this node serves its newest change."""
        if not alone:
            return state(self._store, tenant), self._gates.snapshot(tenant)
        with self._store.changing(tenant) as write:
            return state(self._store, tenant), self._serving(tenant, write) or self._gates.snapshot(tenant)

    def _serving(self, tenant: Tenant, write: TenantWrite) -> Snapshot | None:
        """What serves with the newest change. None if this node does not serve it soon."""
        newest = Requirement(at_least=position_of(tenant, write.head))
        try:
            return self._live.snapshot_at(tenant, newest, _BEHIND_S)
        except RevisionNotCurrentError:
            return None

    def _made(self, request: BindingImport) -> PolicyChange | None:
        with self._store.changing(request.tenant) as write:
            return write.made_by(request.request_id)

    def _loaded(
        self, request: BindingImport, state_before: BindingState, before: Snapshot, terms: CallTerms
    ) -> ImportOutcome | None:
        """None if somebody else changed the tenant meanwhile in a way that is about all rows."""
        tenant, newest = request.tenant, position_of(request.tenant, state_before.head)
        work, already = _work_of_import(request, state_before, before)
        if not work.granted and not work.removed:
            return ImportOutcome(newest, already=already)
        after = self._gates.sound(work, before)
        self._gates.require(request.granter, work, before, after, terms)
        del after
        if request.dry_run:
            return ImportOutcome(newest, len(work.granted), len(work.only_removed_keys), already)
        change = work.change(request.granter, request.reason)
        with self._store.changing(tenant) as write:
            if write.head != state_before.head:
                merged = self._merged(request, work, state_before.head, write, terms)
                if merged is None:
                    return None
                work, already = merged
                change = work.change(request.granter, request.reason)
            head = write.commit(change, terms.origin.caller, request.request_id)
        granted, revoked = len(work.granted), len(work.only_removed_keys)
        self._live.ask_for_news()
        position = position_of(tenant, head)
        self._records.add(terms, position, change, request.request_id, imported=granted, removed=revoked)
        return ImportOutcome(position, granted, revoked, already)

    def _merged(
        self, request: BindingImport, work: BindingWork, since: Head, write: TenantWrite, terms: CallTerms
    ) -> tuple[BindingWork, int] | None:
        """The work over what others changed after `since`, and how many rows are so already.

        The gates are passed again by the rows of everybody whom those changes are about, of groups, and with `*` in their
        scope. No other row can have another result. None if any can, or if a gate refuses: all rows then pass the gates again,
        and the error names the row of the import.
        """
        if request.expected is not None or (request.request_id and write.made_by(request.request_id) is not None):
            return None
        members = self._changed_members(request.tenant, since, write)
        before = self._serving(request.tenant, write) if members else None
        if not members or before is None:
            return None
        members.update(each.row.member for each in write.rows(()) if RowKey.of(each.row) not in work.ended)
        members.update(row.member for row in work.granted if _concerns_others(row.member, row.scope.text))
        members.update(key.member for key in work.removed if _concerns_others(key.member, key.scope))
        rows = {key: row for key, row in request.rows.items() if key.member in members}
        keys = {*rows, *RuntimeLinks(before).keys(members)}
        if Subject(request.granter) in members or len(keys) > _MOST_AGAIN:
            return None
        now = BindingState(write.head, write.now_us, write.rows(keys))
        try:
            again, already = _work_of_import(replace(request, rows=rows), now, before, members)
            again = again._replace(ending=write.ending())
            if again.granted or again.removed:
                after = self._gates.sound(again, before)
                self._gates.require(request.granter, again, before, after, terms)
        except BindingRefusedError:
            return None
        granted = [row for row in work.granted if row.member not in members]
        removed = {key: link for key, link in work.removed.items() if key.member not in members} | again.removed
        others = len(request.rows) - len(rows) - len(granted)
        merged = again._replace(granted=[*granted, *again.granted], added=(), removed=removed)
        return merged, already + others

    def _changed_members(self, tenant: Tenant, since: Head, write: TenantWrite) -> set[Subject] | None:
        """The principals whom the changes after `since` grant and revoke something. None if a change is about others too."""
        members: set[Subject] = set()
        head = since
        while head != write.head:
            passed = changes_after(self._store, tenant, head)
            if len(passed.found) != passed.head.seq - head.seq:
                return None
            head = passed.head
            for _, _, change in passed.found:
                for key in chain(map(RowKey.of, change.granted), change.gone):
                    if _concerns_others(key.member, key.scope):
                        return None
                    members.add(key.member)
        return members

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


def _concerns_others(member: Subject, scope: str) -> bool:
    """Whether what a row leads to depends on the rows of others, or theirs on it."""
    return member.startswith("group:") or "*" in scope.removesuffix("**")


def _work_of_import(
    request: BindingImport, state_before: BindingState, before: Snapshot, members: Iterable[Subject] | None = None
) -> tuple[BindingWork, int]:
    """What changes, and how many rows are so already; of the rows of `members`, if these are given. Raises
    BindingRefusedError for the first row that the files do not open."""
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
        others = dict.fromkeys((*known, *served.keys(members))).keys() - request.rows.keys() - ended.keys()
        removed |= {key: require_as_granted(served, key, known.get(key)) for key in sorted(others)}
    added = [row.link(request.tenant, seq) for row in granted]
    ending = (each for each in known.values() if each.row.expires_us is not None)
    return BindingWork(now_us, granted, added, removed, ended, ending), already
