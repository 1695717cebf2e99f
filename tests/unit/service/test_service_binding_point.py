"""Changes of rows of run time by a node that serves them later, or not at all."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.runtime import BINDINGS, RUNTIME, files
from support.trees import snapshot_of, tree_of

from remit.audit.errors import JournalUnavailable
from remit.audit.ids import DecisionIds
from remit.clock import now_us
from remit.core.names import Principal, Tenant
from remit.core.position import Position
from remit.core.runtime import RuntimeRow, parse_runtime_row
from remit.engine.snapshot import Snapshot
from remit.fleet.bindings import BindingChange, RowKey
from remit.fleet.change import position_of
from remit.fleet.history import Known
from remit.fleet.journal import ReleaseJournal
from remit.fleet.store import Draft, PolicyStore, Reviewed
from remit.policy.live import LivePolicies, RevisionNotCurrentError, TenantPolicy, TenantState
from remit.policy.read.limits import Limits
from remit.service.bindings.gates import BindingGates
from remit.service.bindings.imports import BindingImport, BindingImports, ImportOutcome
from remit.service.bindings.point import BindingOutcome, BindingPoint, BindingRequest
from remit.service.bindings.records import BindingRecords
from remit.service.bindings.work import BindingWork
from remit.service.decision_point import CallOrigin, CallTerms, DecisionPoint
from remit.service.errors import BindingConflictError, BindingRefusedError

ACME = Tenant("acme")
OLGA, ZED = "user:olga", "user:zed"
GRANTER, VIEWER = parse_runtime_row(ZED, "role:granter"), parse_runtime_row(ZED, "role:viewer", "a.**")
EVE = parse_runtime_row("user:eve", "role:viewer", "a.**")
FILES = files(
    runtime=RUNTIME.replace(b"[role:viewer, role:editor]", b"[role:viewer, role:granter]").replace(
        b"[a.**, b.**]", b'["**"]'
    )
)
BY_FILES = files(bindings=BINDINGS + b"g, user:zed, role:granter, acme\n")


class NoRecords:
    def offer(self, records: object, timeout_s: float | None, unrecorded: object, /) -> None: ...

    def offer_then(self, *_: object) -> bool:
        return False

    def decided(self, tenant: str, effect: str, reason: str, count: int = 1) -> None: ...

    def unrecorded(self, decisions: int) -> None: ...


class LostRecords(NoRecords):
    """Says that no record is on disk."""

    def offer(self, records: object, timeout_s: float | None, unrecorded: object, /) -> None:
        raise JournalUnavailable("no space")


class Node:
    """Serves a change when it is told to."""

    def __init__(
        self,
        folder: Path,
        store: PolicyStore,
        content: dict[str, bytes],
        records: NoRecords = NoRecords(),  # noqa: B008 (it never changes)
        record: Callable[..., None] = lambda *_: None,
    ) -> None:
        self._store = store
        store.migrate()
        store.publish(Draft(tree_of(content), "ci"), 0)
        self.journal = ReleaseJournal(folder / "releases")
        self.journal.begin()
        pulled = store.pull(Known())
        assert pulled is not None
        self.journal.put(pulled, store.folders, 1 << 30)
        self.live = LivePolicies()
        self.live.wanted = lambda: None
        self.snapshot = snapshot_of(content, "acme").at(position_of(ACME, pulled.known.tenants[ACME].head))
        self.serve(self.snapshot)
        point = DecisionPoint("", self.live, records, DecisionIds(), records, 0.0)
        self.gates = BindingGates(self.journal, self.live, point, Limits())
        changes = BindingRecords(record)
        self.point = BindingPoint(store, self.live, self.gates, changes, wait_s=0.0)
        self.imports = BindingImports(store, self.live, self.gates, changes, wait_s=0.0)

    def serve(self, snapshot: Snapshot, state: TenantState = TenantState.SERVING) -> None:
        self.pull()
        self.live.put(TenantPolicy(ACME, state, 0, snapshot))

    def pull(self) -> None:
        """Knows of the newest change, without serving it."""
        with self._store.changing(ACME) as write:
            newest = position_of(ACME, write.head)
        self.live.passed = {ACME: {**self.live.passed.get(ACME, {}), newest.seq: newest}}

    def change(
        self,
        granter: str,
        grants: Sequence[RuntimeRow] = (),
        revokes: Sequence[RuntimeRow] = (),
        *,
        serves: bool = False,
    ) -> Position:
        self.pull()
        request = BindingRequest(ACME, Principal(granter), tuple(grants), tuple(map(RowKey.of, revokes)))
        outcome = self.point.change(request, CallTerms(CallOrigin("service:test")))
        links = {RowKey(link.member, link.holds, link.scope.text): link for link in self.snapshot.policy.links}
        self.snapshot = self.snapshot.changed(
            f"revision {outcome.position}",
            [row.link(ACME, outcome.position.seq) for row in grants],
            [links[RowKey.of(row)] for row in revokes],
        ).at(outcome.position)
        if serves:
            self.serve(self.snapshot)
        return outcome.position


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PolicyStore]:
    with PolicyStore(f"sqlite:///{tmp_path / 'policy.db'}") as made:
        yield made


def test_changes_follow_each_other_before_the_node_serves_them(tmp_path: Path, store: PolicyStore) -> None:
    node = Node(tmp_path, store, FILES)
    rows = [parse_runtime_row(f"user:u{number}", "role:viewer") for number in range(64)]
    assert [*range(2, 66)] == [node.change(OLGA, [row]).seq for row in rows]
    # Not without an end: a node that serves nothing new any more must not grant for ever.
    with pytest.raises(RevisionNotCurrentError):
        node.change(OLGA, [EVE])
    node.serve(node.snapshot)
    assert 66 == node.change(OLGA, [EVE]).seq


@pytest.mark.parametrize("granter", [OLGA, ZED])
def test_nothing_is_changed_or_refused_without_a_record_of_the_granters_decision(
    tmp_path: Path, store: PolicyStore, granter: str
) -> None:
    node = Node(tmp_path, store, FILES, LostRecords())
    with pytest.raises(JournalUnavailable, match="no space"):
        node.change(granter, [EVE])
    assert ([], node.snapshot.position) == (store.bindings(ACME)[1], position_of(ACME, store.bindings(ACME)[0]))


@pytest.mark.parametrize("imports", [False, True])
def test_a_change_without_a_record_is_answered_when_the_repeated_request_recorded_it(
    tmp_path: Path, store: PolicyStore, imports: bool
) -> None:
    lost, recorded = [JournalUnavailable("no space")], list[dict[str, object]]()

    def record(type_: str, tenant: str, revision: str, detail: dict[str, object]) -> None:
        if lost:
            raise lost.pop()
        recorded.append(detail)

    node, terms = Node(tmp_path, store, FILES, record=record), CallTerms(CallOrigin("service:test"))

    def change() -> ImportOutcome | BindingOutcome:
        if imports:
            rows = {RowKey.of(EVE): EVE}
            return node.imports.load(BindingImport(ACME, Principal(OLGA), rows, request_id="r-1"), terms)
        return node.point.change(BindingRequest(ACME, Principal(OLGA), (EVE,), request_id="r-1"), terms)

    with pytest.raises(JournalUnavailable, match=r"the change is made, .* send the request again, .*: no space"):
        change()
    assert change().repeated
    assert [(2, True)] == [(store.bindings(ACME)[0].seq, each["repeated"]) for each in recorded]


def test_a_right_to_grant_counts_when_it_serves(tmp_path: Path, store: PolicyStore) -> None:
    node = Node(tmp_path, store, FILES)
    node.change(OLGA, [GRANTER, VIEWER])
    with pytest.raises(RevisionNotCurrentError):
        node.change(ZED, [EVE])
    node.serve(node.snapshot)
    node.change(ZED, [EVE])


def test_a_right_to_grant_that_was_taken_back_does_not_count_until_that_serves(
    tmp_path: Path, store: PolicyStore
) -> None:
    node = Node(tmp_path, store, FILES)
    node.change(OLGA, [GRANTER, VIEWER], serves=True)
    node.change(OLGA, revokes=[GRANTER])
    with pytest.raises(RevisionNotCurrentError):
        node.change(ZED, [EVE])
    node.serve(node.snapshot)
    with pytest.raises(BindingRefusedError, match="may not CREATE BINDING"):
        node.change(ZED, [EVE])


def test_nobody_grants_what_was_taken_from_them_and_still_serves(tmp_path: Path, store: PolicyStore) -> None:
    node = Node(tmp_path, store, BY_FILES)
    node.change(OLGA, [VIEWER], serves=True)
    node.change(OLGA, revokes=[VIEWER])
    with pytest.raises(BindingRefusedError, match="`user:eve` would gain"):
        node.change(ZED, [EVE])


def test_nobody_grants_by_a_row_that_has_ended(tmp_path: Path, store: PolicyStore) -> None:
    node = Node(tmp_path, store, BY_FILES)
    end_us = now_us() + 1_500_000
    node.change(OLGA, [replace(VIEWER, expires_us=end_us)])
    with pytest.raises(
        BindingRefusedError, match=r"`user:eve` would gain FLOW VIEW in `a\.\*\*` after 2.*Z, which `user:zed`"
    ):
        node.change(ZED, [EVE])
    node.change(ZED, [replace(EVE, expires_us=end_us)])
    time.sleep(max(end_us - now_us(), 0) / 1e6)
    with pytest.raises(RevisionNotCurrentError):
        node.change(ZED, [parse_runtime_row("user:ann", "role:viewer", "a.**")])


def test_a_row_that_has_ended_and_still_serves_can_be_granted_anew(tmp_path: Path, store: PolicyStore) -> None:
    """A node takes it out some milliseconds later, or more if its clock is slow."""
    node = Node(tmp_path, store, BY_FILES)
    end_us = now_us() + 300_000
    node.change(OLGA, [replace(VIEWER, expires_us=end_us)], serves=True)
    time.sleep(max(end_us - now_us(), 0) / 1e6)
    node.change(OLGA, [EVE])
    assert 4 == node.change(OLGA, [VIEWER]).seq


def test_a_row_that_has_ended_and_still_serves_can_be_imported_anew(tmp_path: Path, store: PolicyStore) -> None:
    node = Node(tmp_path, store, BY_FILES)
    end_us = now_us() + 300_000
    node.change(OLGA, [replace(VIEWER, expires_us=end_us)], serves=True)
    time.sleep(max(end_us - now_us(), 0) / 1e6)
    rows = {RowKey.of(row): row for row in (VIEWER, EVE)}
    request = BindingImport(ACME, Principal(OLGA), rows, replace=True)
    done = node.imports.load(request, CallTerms(CallOrigin("service:test")))
    assert (3, 2, 0) == (done.position.seq, done.granted, done.revoked)


class Meanwhile:
    """Gates after which others change the tenant, once."""

    def __init__(self, gates: BindingGates, others: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
        self.passed: list[int] = []
        """Rows that are granted, of each time at which rows passed the gates of an import."""
        require = gates.require

        def once(granter: Principal, work: BindingWork, *rest: Any) -> None:
            require(granter, work, *rest)
            self.passed.append(len(work.granted))
            if len(self.passed) == 1:
                monkeypatch.setattr(gates, "require", require)
                others()
                monkeypatch.setattr(gates, "require", once)

        monkeypatch.setattr(gates, "require", once)


def imported(granter: str, *rows: RuntimeRow, replaces: bool = False) -> BindingImport:
    return BindingImport(ACME, Principal(granter), {RowKey.of(row): row for row in rows}, replace=replaces)


PEOPLE = [parse_runtime_row(f"user:u{number}", "role:viewer", "a.**") for number in range(20)]
TERMS = CallTerms(CallOrigin("service:test"), timeout_s=1.0)


@pytest.mark.parametrize("replaces", [False, True])
def test_an_import_passes_those_rows_again_that_others_changed_meanwhile(
    tmp_path: Path, store: PolicyStore, monkeypatch: pytest.MonkeyPatch, replaces: bool
) -> None:
    node = Node(tmp_path, store, FILES)
    node.change(OLGA, [PEOPLE[0], VIEWER], serves=True)
    others = Meanwhile(node.gates, lambda: node.change(OLGA, [PEOPLE[1], EVE], [PEOPLE[0]], serves=True), monkeypatch)
    done = node.imports.load(imported(OLGA, *PEOPLE, replaces=replaces), TERMS)
    assert [19, 1] == others.passed
    assert (19, 2 if replaces else 0, 1) == (done.granted, done.revoked, done.already)
    rest = [] if replaces else [VIEWER, EVE]
    assert sorted(map(RowKey.of, [*PEOPLE, *rest])) == sorted(RowKey.of(each.row) for each in store.bindings(ACME)[1])


def test_an_import_is_refused_if_its_granter_lost_the_right_meanwhile(
    tmp_path: Path, store: PolicyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(tmp_path, store, FILES)
    node.change(OLGA, [GRANTER], serves=True)
    viewer = parse_runtime_row(ZED, "role:viewer")
    node.change(OLGA, [viewer], serves=True)
    Meanwhile(node.gates, lambda: node.change(OLGA, [], [GRANTER], serves=True), monkeypatch)
    with pytest.raises(BindingRefusedError, match="may not CREATE BINDING"):
        node.imports.load(imported(ZED, *PEOPLE), TERMS)
    assert [RowKey.of(viewer)] == [RowKey.of(each.row) for each in store.bindings(ACME)[1]]


@pytest.mark.parametrize("swapped", [False, True])
def test_an_import_and_a_change_meanwhile_break_no_test_together(
    tmp_path: Path, store: PolicyStore, monkeypatch: pytest.MonkeyPatch, swapped: bool
) -> None:
    node = Node(tmp_path, store, files())
    joins, gives = (
        parse_runtime_row("user:mallory", "group:team", "b.**"),
        parse_runtime_row("group:team", "role:editor", "b.**"),
    )
    if swapped:
        joins, gives = gives, joins
    Meanwhile(node.gates, lambda: node.change(OLGA, [joins], serves=True), monkeypatch)
    with pytest.raises(BindingRefusedError, match="tests that must always hold would fail"):
        node.imports.load(imported(OLGA, *PEOPLE, gives), TERMS)
    assert [RowKey.of(joins)] == [RowKey.of(each.row) for each in store.bindings(ACME)[1]]


def test_a_change_of_another_node_has_to_serve_first(tmp_path: Path, store: PolicyStore) -> None:
    node = Node(tmp_path, store, FILES)
    node.change(OLGA, [VIEWER])
    with store.changing(ACME) as write:
        write.commit(BindingChange((GRANTER,), ()), "service:other")
    with pytest.raises(RevisionNotCurrentError):
        node.change(OLGA, [EVE])


SUSPENDED = parse_runtime_row(ZED, "group:suspended")


def test_beside_a_pin_only_what_takes_away_is_accepted_and_the_rest_refused_at_once(
    tmp_path: Path, store: PolicyStore
) -> None:
    node = Node(tmp_path, store, FILES)
    node.change(OLGA, [VIEWER, EVE], serves=True)
    node.serve(node.snapshot.at(None), TenantState.PINNED)
    with pytest.raises(BindingConflictError, match=r"is pinned to revision .*until `remit rollback acme --unpin`"):
        node.change(OLGA, [parse_runtime_row("user:ann", "role:viewer", "a.**")])
    sooner = replace(EVE, expires_us=now_us() + 60_000_000)
    node.pull()
    node.point.change(BindingRequest(ACME, Principal(OLGA), (sooner,)), CallTerms(CallOrigin("service:test")))
    assert 4 == node.change(OLGA, [SUSPENDED]).seq
    node.serve(node.snapshot.at(None), TenantState.PINNED)
    with pytest.raises(BindingConflictError, match="until `remit rollback acme --unpin`"):
        node.change(OLGA, revokes=[SUSPENDED])
    assert 5 == node.change(OLGA, revokes=[VIEWER]).seq


def test_who_suspends_and_cannot_lift_that_is_told_so(tmp_path: Path, store: PolicyStore) -> None:
    node = Node(tmp_path, store, FILES)

    def note(granter: str, member: str) -> str:
        row = parse_runtime_row(member, "group:suspended")
        request = BindingRequest(ACME, Principal(granter), (row,), dry_run=True)
        return node.point.change(request, TERMS).note

    told = note("user:bert", "user:alice")
    assert told.startswith("`user:bert` cannot lift this suspension: `user:alice` would gain FLOW ")
    assert told.endswith("Whoever holds it, or may GRANT_ANY BINDING, can")
    # To lift a suspension of somebody who may do nothing gives nothing.
    assert ["", ""] == [note("user:bert", "user:nobody"), note(OLGA, "user:alice")]


def test_a_node_whose_audit_is_away_says_that_another_one_can(tmp_path: Path, store: PolicyStore) -> None:
    node = Node(tmp_path, store, FILES, LostRecords())
    with pytest.raises(JournalUnavailable, match=r"no space: nothing is changed\. Send the request to another node"):
        node.change(OLGA, [SUSPENDED])
    assert [] == store.bindings(ACME)[1]


def test_what_takes_away_waits_for_no_files(tmp_path: Path, store: PolicyStore) -> None:
    node = Node(tmp_path, store, FILES)
    node.change(OLGA, [VIEWER], serves=True)
    store.publish(
        Draft(tree_of(files(bindings=BINDINGS + b"g, user:x, role:viewer, acme\n")), "ci"),
        1,
        review=lambda *_: Reviewed((), ()),
    )
    suspension = BindingRequest(ACME, Principal(OLGA), (SUSPENDED,))
    with pytest.raises(RevisionNotCurrentError):
        # Nor was the newest change verified: to follow it would be to sign it.
        node.point.change(suspension, CallTerms(CallOrigin("service:test")))
    assert 4 == node.change(OLGA, [SUSPENDED]).seq
    assert 5 == node.change(OLGA, revokes=[VIEWER]).seq
    with pytest.raises(RevisionNotCurrentError):
        node.change(OLGA, [EVE])


def test_a_row_that_another_node_changed_since_has_to_serve_before_it_is_revoked(
    tmp_path: Path, store: PolicyStore
) -> None:
    node = Node(tmp_path, store, FILES)
    node.change(OLGA, [VIEWER], serves=True)
    with store.changing(ACME) as write:
        write.commit(BindingChange((EVE,), (RowKey.of(VIEWER),)), "service:other")
    for row in (VIEWER, EVE):
        with pytest.raises(RevisionNotCurrentError):
            node.change(OLGA, revokes=[row])
