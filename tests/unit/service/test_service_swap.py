"""Files and rows of run time are served together as they stood together in the store's log."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.runtime import BINDINGS, RUNTIME, files
from support.trees import snapshot_of

from remit.audit.chain.chain import Head
from remit.core.names import Namespace, Principal, Tenant, Word
from remit.core.policy import Policy
from remit.core.position import Position
from remit.core.question import Question
from remit.core.runtime import parse_runtime_row
from remit.engine.snapshot import Snapshot
from remit.fleet.binding_log import NO_BINDINGS, append
from remit.fleet.bindings import BindingChange, RowKey
from remit.fleet.change import genesis, linked, position_of
from remit.fleet.current_release import CurrentRelease
from remit.fleet.history import TenantPosition
from remit.fleet.journal import ReleaseJournal
from remit.policy.live import LivePolicies
from remit.policy.revisions.store import Pin
from remit.service.metrics import Metrics
from remit.service.reload.overlays import Overlays
from remit.service.reload.swap import PolicySwap
from remit.service.reload.tenants import Change, Swap, TenantFiles, Tenants

ACME = Tenant("acme")
OLD = snapshot_of(files(), "acme")
NEW = snapshot_of(files(bindings=BINDINGS + b"g, user:x, role:viewer, acme\n"), "acme")


class SwapNode:
    """A node whose files and rows arrive one after the other, in any order."""

    def __init__(self, folder: Path) -> None:
        journal = ReleaseJournal(folder)
        self.now_us = 1_000
        self.live = LivePolicies()
        self.urgent: list[Tenant] = []
        """The tenants whose files should be loaded before others."""
        overlays = Overlays(journal, lambda: self.now_us, 10_000)
        self.swap = PolicySwap(self.live, Metrics(), lambda: self.now_us, overlays)
        self._log = journal.directory / "bindings" / "acme.jsonl"
        self._log.parent.mkdir(parents=True)
        self._head, self._rows = genesis(ACME), NO_BINDINGS

    def grant(self, name: str, revision: str, expires_us: int | None = None, holds: str = "role:viewer") -> Position:
        """The journal has one more row, over files of this revision."""
        row = parse_runtime_row(f"user:{name}", holds, "a.**", expires_us)
        return self.change(BindingChange((row,), ()), revision)

    def revoke(self, name: str, revision: str, holds: str = "role:viewer") -> Position:
        row = parse_runtime_row(f"user:{name}", holds, "a.**")
        return self.change(BindingChange((), (RowKey.of(row),)), revision)

    def change(self, change: BindingChange, revision: str) -> Position:
        self.commit(change)
        release = CurrentRelease(1, "", {ACME: TenantPosition(self._head, revision, self._head)})
        with self.swap.changing():
            self.urgent = self.swap.place(release)
        return position_of(ACME, self._head)

    def commit(self, change: BindingChange) -> Head:
        """The journal has the change, and nobody was told."""
        made = linked(self._head, ACME, self.now_us, "BINDINGS", "ci", change.body)
        append(self._log, [made], after=self._rows)
        self._head = self._rows = made.head
        return made.head

    def load(self, base: Snapshot, pin: Pin | None = None) -> None:
        found = TenantFiles(revision=base.revision, refused=False, serving=base.revision, pin=pin)
        with self.swap.changing():
            self.swap.apply(Change(Tenants({ACME: found}), ACME, swap=Swap(base)))

    def refuse(self, revision: str) -> None:
        found = TenantFiles(revision=revision, refused=True, serving=OLD.revision)
        with self.swap.changing():
            self.swap.apply(Change(Tenants({ACME: found}), ACME))

    def serves(self) -> tuple[set[str], Position | None]:
        """Who may view, and the position."""
        snapshot = self.live.snapshot(ACME)
        assert snapshot is not None
        questions = {
            name: Question(Principal(f"user:{name}"), Word("VIEW"), Word("FLOW"), Namespace("a.x"))
            for name in ("zoe", "ann", "x")
        }
        return {name for name, each in questions.items() if snapshot.decide(each).allowed}, snapshot.position


@pytest.fixture
def node(tmp_path: Path) -> SwapNode:
    return SwapNode(tmp_path)


def test_rows_wait_for_the_files_over_which_they_were_granted(node: SwapNode) -> None:
    first = node.grant("zoe", OLD.revision)
    node.load(OLD)
    assert ({"zoe"}, first) == node.serves()

    second = node.grant("ann", NEW.revision)
    assert ({"zoe"}, first) == node.serves()
    node.load(NEW)
    assert ({"zoe", "ann", "x"}, second) == node.serves()


def test_a_tenant_is_urgent_while_a_change_waits_for_its_files(node: SwapNode) -> None:
    node.load(OLD)
    node.grant("zoe", OLD.revision)
    assert [] == node.urgent
    node.grant("ann", NEW.revision)
    assert [ACME] == node.urgent

    # Only files have changed, as those of all tenants do after an edit of the root.
    head, rows = linked(node._head, ACME, 1_000, "PUBLISHED", "ci", "{}").head, node._head
    with node.swap.changing():
        assert [] == node.swap.place(CurrentRelease(2, "", {ACME: TenantPosition(head, NEW.revision, rows)}))

    # A change of rows, and files after it, in one pull.
    node._head = head
    rows = node.commit(BindingChange((parse_runtime_row("user:x", "role:viewer", "a.**"),), ()))
    head = linked(rows, ACME, 1_000, "PUBLISHED", "ci", "{}").head
    with node.swap.changing():
        assert [ACME] == node.swap.place(CurrentRelease(3, "", {ACME: TenantPosition(head, NEW.revision, rows)}))


def test_files_wait_for_the_rows_that_were_granted_before_them(node: SwapNode) -> None:
    first = node.grant("zoe", OLD.revision)
    node.load(OLD)

    node.load(NEW)
    assert ({"zoe"}, first) == node.serves()
    second = node.grant("ann", NEW.revision)
    assert ({"zoe", "ann", "x"}, second) == node.serves()


def test_a_row_ends_while_files_are_loaded(node: SwapNode) -> None:
    first = node.grant("zoe", OLD.revision, expires_us=2_000)
    node.load(OLD)
    node.grant("ann", NEW.revision)

    node.now_us = 2_000
    with node.swap.changing():
        node.swap.end_rows()
    assert (set(), first) == node.serves()


def test_rows_do_not_wait_for_files_that_are_refused_or_pinned(node: SwapNode) -> None:
    node.grant("zoe", OLD.revision)
    node.load(OLD)
    node.refuse("broken")
    node.grant("ann", "broken")
    assert ({"zoe", "ann"}, None) == node.serves()

    node.load(NEW, Pin(NEW.revision, "alice", 0))
    assert {"zoe", "ann", "x"} == node.serves()[0]


def test_a_change_does_not_wait_until_the_rows_that_another_one_replaced_are_freed(
    node: SwapNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    globex = Tenant("globex")
    events: list[str] = []

    def free(policy: Policy) -> Iterator[None]:
        name = policy.revision[:8]
        yield
        with node.swap.changing():
            events.append(f"another change beside {name}")
        events.append(f"freed {name}")

    monkeypatch.setattr("remit.service.reload.swap.free_gradually", free)
    found = {each: TenantFiles(revision="r", refused=False, serving="r") for each in (ACME, globex)}
    other = snapshot_of(
        {name.replace("acme", "globex"): text.replace(b"acme", b"globex") for name, text in files().items()}, "globex"
    )
    with node.swap.changing():
        node.swap.apply(Change(Tenants(found), ACME, swap=Swap(OLD)))
        node.swap.apply(Change(Tenants(found), globex, swap=Swap(other)))
    with node.swap.changing():
        node.swap.apply(Change(Tenants(found), ACME, swap=Swap(NEW)))
        node.swap.apply(Change(Tenants(found), globex, swap=Swap(None)))

    names = [each.revision[:8] for each in (OLD, other)]
    assert events == [f"{what} {name}" for name in names for what in ("another change beside", "freed")]


def test_what_takes_away_waits_for_no_files(node: SwapNode) -> None:
    node.grant("zoe", OLD.revision)
    first = node.grant("ann", OLD.revision)
    node.load(OLD)

    node.revoke("zoe", NEW.revision)
    assert ({"ann"}, first) == node.serves()
    node.grant("x", NEW.revision)
    node.grant("ann", NEW.revision, holds="group:suspended")
    assert (set(), first) == node.serves()
    # To lift a suspension gives.
    last = node.revoke("ann", NEW.revision, holds="group:suspended")
    assert (set(), first) == node.serves()
    revisions = {node.live.tenants[ACME].revision}
    node.load(NEW)
    assert ({"ann", "x"}, last) == node.serves()
    assert node.live.tenants[ACME].revision not in revisions


def test_a_row_that_ends_sooner_ends_while_files_load_and_one_that_ends_later_waits(node: SwapNode) -> None:
    node.grant("zoe", OLD.revision, expires_us=9_000)
    first = node.grant("ann", OLD.revision, expires_us=3_000)
    node.load(OLD)
    node.grant("zoe", NEW.revision, expires_us=2_000)
    node.grant("ann", NEW.revision, expires_us=9_000)

    for now_us, who in ((1_999, {"zoe", "ann"}), (2_000, {"ann"}), (3_000, set())):
        node.now_us = now_us
        with node.swap.changing():
            node.swap.end_rows()
        assert (who, first) == node.serves()
    node.load(NEW)
    assert {"ann", "x"} == node.serves()[0]


def test_over_pinned_files_a_row_that_they_do_not_open_keeps_no_other_from_counting(node: SwapNode) -> None:
    node.grant("zoe", NEW.revision)
    node.load(NEW)
    shut = snapshot_of(files(runtime=RUNTIME.replace(b"role:viewer, ", b"")), "acme")
    node.load(shut, Pin(shut.revision, "alice", 0))
    assert set() == node.serves()[0]
    node.load(OLD, Pin(OLD.revision, "alice", 0))
    assert {"zoe"} == node.serves()[0]
    node.grant("zoe", NEW.revision, holds="group:suspended")
    assert set() == node.serves()[0]
