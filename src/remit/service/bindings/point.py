"""Grants and revokes at run time: three gates, in the transaction that writes the change.

The granter may do it, by a decision of remit; nobody gains what the granter does not hold; and the tenant's tests marked
`always` still hold.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from remit.core.names import Principal, Tenant
from remit.core.position import Position
from remit.core.rows import Link
from remit.core.runtime import RuntimeRow
from remit.engine.decision_diagram import TooManyDiagramsError
from remit.engine.diff import AccessChange, access_diff
from remit.engine.snapshot import Snapshot
from remit.fleet.bindings import BindingChange, GrantedRow, RowKey
from remit.fleet.change import PolicyChange, position_of
from remit.fleet.store import PolicyStore
from remit.fleet.writes import TenantWrite
from remit.policy.live import LivePolicies, Requirement, TenantState
from remit.service.bindings.gates import BindingGates, NotServedYetError
from remit.service.bindings.records import BindingRecords
from remit.service.bindings.work import BindingWork, link_in_files, require_as_granted
from remit.service.decision_point import CallTerms
from remit.service.errors import BindingConflictError, BindingRefusedError, NoBindingsError
from remit.service.runtime_links import RuntimeLinks

ROWS_LIMIT: Final = 1_000
"""Rows of one change."""
_MOST_AHEAD: Final = 64
"""Changes that this node makes before it serves the first of them."""


@dataclass(frozen=True, slots=True)
class BindingRequest:
    tenant: Tenant
    granter: Principal
    """Whose rights the change needs."""
    grants: tuple[RuntimeRow, ...] = ()
    revokes: tuple[RowKey, ...] = ()
    expected: Position | None = None
    """Only if this is the tenant's newest position."""
    must_exist: tuple[RowKey, ...] = ()
    must_not_exist: tuple[RowKey, ...] = ()
    request_id: str = ""
    """A name that no other change of the tenant has: a repeated request is answered as the first one was."""
    reason: str = ""
    dry_run: bool = False


class BindingOutcome(NamedTuple):
    position: Position
    """From which on the change serves; of the newest change, if nothing was changed."""
    already: tuple[RowKey, ...] = ()
    """Rows that were as the request wants them."""
    effects: tuple[AccessChange, ...] = ()
    """Who gains and who loses what. Of a dry run only."""
    repeated: bool = False
    """An earlier request of this name made the change."""
    made: BindingChange | None = None
    """What this request changed, now or earlier; None for nothing."""
    note: str = ""
    """What the granter should know."""


class BindingPoint:
    """Changes the rows of run time of tenants."""

    def __init__(
        self, store: PolicyStore, live: LivePolicies, gates: BindingGates, records: BindingRecords, wait_s: float
    ) -> None:
        """`wait_s` is how long a change waits for this node to serve what others changed before."""
        self._store = store
        self._live = live
        self._gates = gates
        self._records = records
        self._wait_s = wait_s
        self._ahead: dict[Tenant, Snapshot] = {}
        """What the last change of this node led to, until that serves."""

    def change(self, request: BindingRequest, terms: CallTerms) -> BindingOutcome:
        """Makes all of the change or nothing.

        Raises NoBindingsError, BindingRefusedError, BindingConflictError, RevisionNotCurrentError if this node does not serve
        the tenant's newest changes, PolicyStoreError, and what a decision raises.
        """
        tenant = request.tenant
        until_s = time.monotonic() + min(self._wait_s, terms.timeout_s)
        waited = False
        while True:
            with self._store.changing(tenant) as write:
                made = write.made_by(request.request_id) if request.request_id else None
                newest = position_of(tenant, write.head)
                seen = self._live.changes
                try:
                    outcome = self._changed(write, request, terms) if made is None else None
                except NotServedYetError:
                    outcome = None
            if made is not None:
                outcome = _repeated(made, request)
            if outcome is not None:
                if outcome.made is not None:
                    self._live.ask_for_news()
                    self._records.add(
                        terms,
                        outcome.position,
                        outcome.made,
                        request.request_id,
                        repeated=outcome.repeated,
                        granted=[" ".join(RowKey.of(each)) for each in outcome.made.granted],
                        revoked=[" ".join(each) for each in outcome.made.revoked],
                    )
                return outcome
            # The transaction is over: others may go on, and change the tenant before this one is at work again.
            left_s = max(until_s - time.monotonic(), 0.0)
            if waited and not left_s:
                raise BindingConflictError(f"others change tenant `{tenant}` all the time: try again")
            if self._is_pinned(tenant) or (left_s and not self._has_pulled(newest)):
                # A pinned policy has no position. Its rows of run time go on.
                self._live.ask_for_news()
                self._live.changed_since(seen, left_s)
            else:
                self._live.snapshot_at(tenant, Requirement(at_least=newest), left_s)
            waited = True

    def _before(self, newest: Position) -> Snapshot | None:
        """The policy at the tenant's newest position: the one that serves, or the one that the last change of this node led
        to. None if this node has neither."""
        serving = self._gates.snapshot(newest.tenant)
        if serving.position == newest:
            self._ahead.pop(newest.tenant, None)
            return serving
        if serving.position is None or newest.seq - serving.position.seq >= _MOST_AHEAD:
            return None
        ahead = self._ahead.get(newest.tenant)
        return ahead if ahead is not None and ahead.position == newest else None

    def _is_pinned(self, tenant: Tenant) -> bool:
        policy = self._live.get(tenant)
        return policy is not None and policy.state is TenantState.PINNED

    def _has_pulled(self, newest: Position) -> bool:
        """Whether this node has verified all changes up to there, though it may not serve them yet."""
        return self._live.passed.get(newest.tenant, {}).get(newest.seq) == newest

    def _changed(self, write: TenantWrite, request: BindingRequest, terms: CallTerms) -> BindingOutcome:
        """Raises NotServedYetError if what serves must be what the change follows."""
        tenant, newest = request.tenant, position_of(request.tenant, write.head)
        if request.expected is not None and request.expected != newest:
            raise BindingConflictError(f"tenant `{tenant}` is at position `{newest}`, not at `{request.expected}`")
        before = self._before(newest)
        is_behind = before is None
        if before is None:
            # To follow a change is to sign that all before it are good.
            if not self._has_pulled(newest):
                raise NotServedYetError("the newest change is not verified yet")
            before = self._gates.snapshot(tenant)
        try:
            work = _work_of(request, write, before)
        except NoBindingsError as error:
            if is_behind:
                raise NotServedYetError(str(error)) from None
            raise
        if not work.granted and not work.removed:
            return BindingOutcome(newest, tuple(work.already))
        after = self._gates.sound(work, before)
        if is_behind:
            self._require_takes_away(work, before, after)
        self._gates.require(request.granter, work, before, after, terms)
        if request.dry_run:
            note = self._gates.one_way(request.granter, work, before, after)
            return BindingOutcome(newest, tuple(work.already), _effects(before, after), note=note)
        change = work.change(request.granter, request.reason)
        position = position_of(tenant, write.commit(change, terms.origin.caller, request.request_id))
        # The next change may begin as soon as the transaction ends. Without it, no change is at this position.
        if not is_behind:
            self._ahead[tenant] = after.at(position)
        note = self._gates.one_way(request.granter, work, before, after)
        return BindingOutcome(position, tuple(work.already), made=change, note=note)

    def _require_takes_away(self, work: BindingWork, before: Snapshot, after: Snapshot) -> None:
        """Raises NotServedYetError if a change that follows an older policy gives somebody something; BindingConflictError if
        waiting would be in vain."""
        if self._gates.only_takes_away(work, before, after):
            return
        if self._is_pinned(before.tenant):
            raise BindingConflictError(
                f"tenant `{before.tenant}` is pinned to revision `{before.revision}`, and the change gives somebody something: "
                f"until `remit rollback {before.tenant} --unpin`, only what takes away is accepted"
            )
        raise NotServedYetError("a change that gives something follows the newest one")


def _effects(before: Snapshot, after: Snapshot) -> tuple[AccessChange, ...]:
    try:
        return access_diff(before, after)
    except TooManyDiagramsError as error:
        raise BindingRefusedError(f"it cannot be found out who would gain what: {error}") from error


def _work_of(request: BindingRequest, write: TenantWrite, before: Snapshot) -> BindingWork:
    """Raises BindingConflictError if a precondition does not hold, or a row to revoke is of the files."""
    wanted = {RowKey.of(row): row for row in request.grants}
    if wanted.keys() & set(request.revokes):
        raise BindingConflictError("a row is granted and revoked at once: leave one of them out")
    asked = {*wanted, *request.revokes, *request.must_exist, *request.must_not_exist}
    known = {RowKey.of(each.row): each for each in write.rows(asked)}
    ended = {key: each for key, each in known.items() if not each.row.counts(write.now_us)}
    served = RuntimeLinks(before)
    links = {key: require_as_granted(served, key, known.get(key)) for key in (*asked, *ended)}
    past = {key: links[key] for key in ended}
    # What serves has taken a row out when it ended. What a change led to still has it, and nobody may grant by it.
    if not before.revision and any(past.values()):
        raise NotServedYetError("a row has ended that counts in it")
    current = {key: each for key, each in known.items() if each.row.counts(write.now_us)}
    _require_state(request, current)
    already: list[RowKey] = []
    removed: dict[RowKey, Link | None] = {}
    for key in dict.fromkeys(request.revokes):
        if key in current:
            removed[key] = links[key]
        elif (link := link_in_files(before, key)) is not None:
            raise BindingConflictError(f"{link.place} has {key.text}: edit the file and publish it")
        else:
            already.append(key)
    granted: list[RuntimeRow] = []
    for key, row in wanted.items():
        if key in current and current[key].row.expires_us == row.expires_us:
            already.append(key)
            continue
        if key in current:
            removed[key] = links[key]
        granted.append(row)
    added = tuple(row.link(request.tenant, write.head.seq + 1) for row in granted)
    return BindingWork(write.now_us, tuple(granted), added, removed, past, write.ending(), tuple(already))


def _require_state(request: BindingRequest, current: Mapping[RowKey, GrantedRow]) -> None:
    """Raises BindingConflictError if a precondition does not hold."""
    for key in request.must_exist:
        if key not in current:
            raise BindingConflictError(f"{key.text} is not granted, and must be")
    for key in request.must_not_exist:
        if key in current:
            raise BindingConflictError(f"{key.text} is granted by change {current[key].seq}, and must not be")


def _repeated(made: PolicyChange, request: BindingRequest) -> BindingOutcome:
    """Rows that were as the request wants them are not in the change."""
    change = BindingChange.parse(made.body)
    other = {*change.granted} - {*request.grants} or change.only_revoked - {*request.revokes}
    if change.granter != request.granter or other:
        raise BindingConflictError(
            f"change {made.seq} has the request id `{request.request_id}`, and is another change"
        )
    return BindingOutcome(position_of(request.tenant, made.head), repeated=True, made=change)
