"""Grants and revokes at run time: three gates, in the transaction that writes the change.

The granter may do it, by a decision of remit; nobody gains what the granter does not hold; and the tenant's tests marked
`always` still hold.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final, NamedTuple

import structlog

from remit.audit.errors import JournalUnavailable
from remit.audit.record import BINDINGS_CHANGED
from remit.core.decision import Decision
from remit.core.diagnostics import PolicyError
from remit.core.names import Principal, Tenant, Word
from remit.core.position import Position
from remit.core.question import Question
from remit.core.rows import Link
from remit.core.runtime import GRANT, REVOKE, RuntimeRow
from remit.engine.decision_diagram import TooManyDiagramsError
from remit.engine.diff import AccessChange, diff
from remit.engine.diff.escalation import affected, binding_question, escalations
from remit.engine.snapshot import Snapshot
from remit.fleet.bindings import BindingChange, GrantedRow, RowKey
from remit.fleet.change import PolicyChange, position_of
from remit.fleet.journal import ReleaseJournal
from remit.fleet.store import PolicyStore
from remit.fleet.writes import TenantWrite
from remit.policy.ceiling import refusal, unsound
from remit.policy.live import LivePolicies, Requirement
from remit.policy.load import load_root, read_cases
from remit.policy.read.limits import Limits
from remit.policy.read.tree import read_tree
from remit.policy.testing.cases import Case, always_failures
from remit.service.decision_point import CallTerms, DecisionPoint
from remit.service.errors import BindingConflictError, BindingRefusedError, NoBindingsError

_log = structlog.get_logger("remit")

ROWS_LIMIT: Final = 1_000
"""Rows of one change."""
_SHOWN: Final = 5


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
    """What this request changed; None for nothing."""


class BindingPoint:
    """Changes the rows of run time of tenants."""

    def __init__(
        self,
        store: PolicyStore,
        journal: ReleaseJournal,
        live: LivePolicies,
        point: DecisionPoint,
        *,
        record: Callable[[str, str, str, dict[str, Any]], None],
        limits: Limits,
        wait_s: float,
    ) -> None:
        """`record` writes a lifecycle record of a type, a tenant, a revision and its detail. `wait_s` is how long a change waits for this node to serve what others changed before."""
        self._store = store
        self._journal = journal
        self._live = live
        self._point = point
        self._record = record
        self._limits = limits
        self._wait_s = wait_s
        self._cases = _CaseCache(journal, limits)

    def rows(self, tenant: Tenant) -> tuple[Position | None, Sequence[GrantedRow]]:
        """The rows of run time that are in force, and the position of the change up to which they count; None if the tenant
        never had a change. Raises PolicyStoreError."""
        head, found = self._store.bindings(tenant)
        now_us = int(time.time() * 1e6)
        position = position_of(tenant, head) if head.seq else None
        return position, [each for each in found if each.row.counts(now_us)]

    def change(self, request: BindingRequest, terms: CallTerms) -> BindingOutcome:
        """Makes all of the change or nothing.

        Raises NoBindingsError, BindingRefusedError, BindingConflictError, RevisionNotCurrentError if this node does not serve
        the tenant's newest changes, PolicyStoreError, and what a decision raises.
        """
        tenant = request.tenant
        until_s = time.monotonic() + min(self._wait_s, terms.timeout_s)
        while True:
            with self._store.changing(tenant) as write:
                made = write.made_by(request.request_id) if request.request_id else None
                if made is not None:
                    return _repeated(made, request)
                newest = position_of(tenant, write.head)
                snapshot = self._snapshot(tenant)
                outcome = self._changed(write, request, snapshot, terms) if snapshot.position == newest else None
            if outcome is not None:
                if outcome.made is not None:
                    self._remember(request, outcome, terms)
                return outcome
            # The transaction is over: others may go on, and change the tenant before this one is at work again.
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                raise BindingConflictError(f"others change tenant `{tenant}` all the time: try again")
            self._live.snapshot_at(tenant, Requirement(at_least=newest), left_s)

    def _snapshot(self, tenant: Tenant) -> Snapshot:
        snapshot = self._live.snapshot(tenant)
        if snapshot is None:
            raise NoBindingsError(f"there is no tenant `{tenant}`")
        if snapshot.policy.runtime is None:
            raise NoBindingsError(f"{tenant}/tenant.yaml has no `runtime`: nothing may be granted at run time")
        return snapshot

    def _changed(
        self, write: TenantWrite, request: BindingRequest, before: Snapshot, terms: CallTerms
    ) -> BindingOutcome:
        tenant, newest = request.tenant, position_of(request.tenant, write.head)
        if request.expected is not None and request.expected != newest:
            raise BindingConflictError(f"tenant `{tenant}` is at position `{newest}`, not at `{request.expected}`")
        work = _Work.of(request, write, before)
        if not work.granted and not work.removed:
            return BindingOutcome(newest, work.already)
        after = self._sound(work, write, before)
        try:
            self._require_granter(request, work, before, terms)
            self._require_within(request, work, before, after)
            if request.dry_run:
                effects = diff(tenant, before, after).access
                return BindingOutcome(newest, work.already, effects)
        except TooManyDiagramsError as error:
            raise BindingRefusedError(f"it cannot be found out who would gain what: {error}") from error
        change = BindingChange(
            work.granted, tuple(work.removed), work.ended, granter=request.granter, reason=request.reason
        )
        head = write.commit(change, terms.origin.caller, request.request_id)
        return BindingOutcome(position_of(tenant, head), work.already, made=change)

    def _remember(self, request: BindingRequest, outcome: BindingOutcome, terms: CallTerms) -> None:
        """Records a change that is durable already: the caller must not take it for one that was not made."""
        assert outcome.made is not None
        detail = {
            "caller": terms.origin.caller,
            "granter": request.granter,
            "position": str(outcome.position),
            "granted": [" ".join(RowKey.of(each)) for each in outcome.made.granted],
            "revoked": [" ".join(each) for each in outcome.made.revoked],
            "reason": request.reason,
        }
        try:
            self._record(BINDINGS_CHANGED, request.tenant, "", detail)
        except JournalUnavailable as error:
            _log.error("a change of rows of run time is not in the audit", **detail, error=str(error))

    def _sound(self, work: "_Work", write: TenantWrite, before: Snapshot) -> Snapshot:
        """The next policy. Raises BindingRefusedError if the files do not open a row, or the rows do not fit together."""
        for row in work.granted:
            if why := refusal(before.policy, row, write.now_us):
                raise BindingRefusedError(f"{_shown(row)}: {why}")
        after = before.changed("", work.added, work.gone)
        ending = [
            *(each.row for key, each in work.ending.items() if key not in work.removed and key not in work.ended),
            *work.granted,
        ]
        found = unsound(before, after, work.granted, ending, self._limits.question_rows)
        if found:
            texts = [f"{_shown(each.row)}: {each.message}" for each in found[:_SHOWN]]
            raise BindingRefusedError("; ".join(texts))
        return after

    def _require_granter(self, request: BindingRequest, work: "_Work", before: Snapshot, terms: CallTerms) -> None:
        """Raises BindingRefusedError unless the granter may change rows with these scopes. Each decision is recorded."""
        asked: dict[Question, Word] = {}
        for action, links in ((GRANT, work.added), (REVOKE, work.only_removed)):
            for scope in {link.scope.text: link.scope for link in links}.values():
                asked[binding_question(before, request.granter, action, scope)] = action
        for question in asked:
            answer = self._point.commit(self._point.check(request.tenant, (question, ""), terms))
            decision: Decision = answer.decision
            if not decision.allowed:
                where = f" in `{question.namespace}`" if question.namespace else ""
                rule = f", by {decision.rule.place}" if decision.rule is not None else ""
                raise BindingRefusedError(
                    f"`{request.granter}` may not {question.action} {question.kind}{where}: {decision.reason}{rule}"
                )

    def _require_within(self, request: BindingRequest, work: "_Work", before: Snapshot, after: Snapshot) -> None:
        """Raises BindingRefusedError if somebody would gain what the granter does not hold, or a test would fail."""
        changed = [*work.added, *work.gone]
        beyond = escalations(before, after, changed, request.granter)
        if beyond:
            texts = "; ".join(each.text for each in beyond[:_SHOWN])
            more = f" and {len(beyond) - _SHOWN} more" if len(beyond) > _SHOWN else ""
            raise BindingRefusedError(f"{texts}{more}, which `{request.granter}` does not hold")
        who = frozenset(Principal(each) for each in affected(before, after, changed))
        failures = always_failures(after, self._cases.of(request.tenant), who)
        if failures:
            texts = "; ".join(str(each.diagnostic) for each in failures[:_SHOWN])
            raise BindingRefusedError(f"tests that must always hold would fail: {texts}")


class _Work(NamedTuple):
    """What a change does to the rows that are in force."""

    granted: tuple[RuntimeRow, ...]
    added: tuple[Link, ...]
    removed: dict[RowKey, Link | None]
    """Revoked, or granted anew with another end. None if this node's clock says that the row has ended."""
    ended: tuple[RowKey, ...]
    ending: dict[RowKey, GrantedRow]
    """The rows that end some time."""
    already: tuple[RowKey, ...]

    @property
    def only_removed(self) -> list[Link]:
        again = {RowKey.of(row) for row in self.granted}
        return [link for key, link in self.removed.items() if link is not None and key not in again]

    @property
    def gone(self) -> list[Link]:
        return [link for link in self.removed.values() if link is not None]

    @classmethod
    def of(cls, request: BindingRequest, write: TenantWrite, before: Snapshot) -> "_Work":
        """Raises BindingConflictError if a precondition does not hold, or a row to revoke is of the files."""
        wanted = {RowKey.of(row): row for row in request.grants}
        if wanted.keys() & set(request.revokes):
            raise BindingConflictError("a row is granted and revoked at once: leave one of them out")
        known = write.rows({*wanted, *request.revokes, *request.must_exist, *request.must_not_exist})
        current = {key: each for key, each in known.items() if each.row.counts(write.now_us)}
        _require_state(request, current)
        already: list[RowKey] = []
        removed: dict[RowKey, Link | None] = {}
        for key in dict.fromkeys(request.revokes):
            if key in current:
                removed[key] = _link(current[key], before)
            elif (link := _in_files(before, key)) is not None:
                raise BindingConflictError(f"{link.place} has {_shown(key)}: edit the file and publish it")
            else:
                already.append(key)
        granted: list[RuntimeRow] = []
        for key, row in wanted.items():
            if key in current and current[key].row.expires_us == row.expires_us:
                already.append(key)
                continue
            if key in current:
                removed[key] = _link(current[key], before)
            granted.append(row)
        ending = {RowKey.of(each.row): each for each in write.ending()}
        ended = tuple(key for key, each in ending.items() if not each.row.counts(write.now_us) and key not in wanted)
        added = tuple(row.link(request.tenant, write.head.seq + 1) for row in granted)
        return cls(tuple(granted), added, removed, ended, ending, tuple(already))


class _CaseCache:
    """The tests of tenants that must always hold."""

    def __init__(self, journal: ReleaseJournal, limits: Limits) -> None:
        self._journal = journal
        self._limits = limits
        self._found: dict[Tenant, tuple[str, tuple[Case, ...]]] = {}
        self._mutex = Lock()

    def of(self, tenant: Tenant) -> Sequence[Case]:
        """Of the newest release. Raises NoBindingsError if they cannot be read."""
        current = self._journal.current()
        known = current.tenants.get(tenant) if current is not None else None
        revision = known.revision if known is not None else ""
        with self._mutex:
            found = self._found.get(tenant)
            if found is None or found[0] != revision:
                found = self._found[tenant] = (revision, self._read(tenant))
            return found[1]

    def _read(self, tenant: Tenant) -> tuple[Case, ...]:
        try:
            tree = read_tree(self._journal.policies, self._limits)
            _, cases = read_cases(tree, tenant, load_root(tree, self._limits), self._limits)
        except (OSError, PolicyError, KeyError) as error:
            raise NoBindingsError(f"the tests of tenant `{tenant}` cannot be read: {error}") from error
        return tuple(each for each in cases if each.always)


def _require_state(request: BindingRequest, current: Mapping[RowKey, GrantedRow]) -> None:
    """Raises BindingConflictError if a precondition does not hold."""
    for key in request.must_exist:
        if key not in current:
            raise BindingConflictError(f"{_shown(key)} is not granted, and must be")
    for key in request.must_not_exist:
        if key in current:
            raise BindingConflictError(f"{_shown(key)} is granted by change {current[key].seq}, and must not be")


def _link(granted: GrantedRow, snapshot: Snapshot) -> Link | None:
    """The g row of the snapshot that a row of run time is."""
    place = granted.row.link(snapshot.tenant, granted.seq).place
    key = RowKey.of(granted.row)
    return next((each for each in _links(snapshot, key) if each.place == place), None)


def _in_files(snapshot: Snapshot, key: RowKey) -> Link | None:
    return next((each for each in _links(snapshot, key) if each.line), None)


def _links(snapshot: Snapshot, key: RowKey) -> Iterable[Link]:
    found = snapshot.graph.links_of(key.member)
    return (each for each in found if each.holds == key.holds and each.scope.text == key.scope)


def _repeated(made: PolicyChange, request: BindingRequest) -> BindingOutcome:
    """Rows that were as the request wants them are not in the change."""
    change = BindingChange.parse(made.body)
    revoked = {*change.revoked} - {*map(RowKey.of, change.granted)}
    if change.granter != request.granter or {*change.granted} - {*request.grants} or revoked - {*request.revokes}:
        raise BindingConflictError(
            f"change {made.seq} has the request id `{request.request_id}`, and is another change"
        )
    return BindingOutcome(position_of(request.tenant, made.head), repeated=True)


def _shown(row: RuntimeRow | RowKey) -> str:
    key = RowKey.of(row) if isinstance(row, RuntimeRow) else row
    scope = f" in `{key.scope}`" if key.scope != "**" else ""
    return f"`{key.member}` in `{key.holds}`{scope}"
