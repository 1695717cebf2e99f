"""Rows of run time over the policies of files: the delta serves what a rebuild would."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.runtime import BINDINGS, RUNTIME, files
from support.trees import snapshot_of

from remit.core.names import Namespace, Principal, Tenant, Word
from remit.core.question import Question
from remit.core.runtime import RuntimeRow, parse_runtime_row
from remit.engine.snapshot import Snapshot
from remit.files import write_whole
from remit.fleet.binding_log import NO_BINDINGS, _beginning, append
from remit.fleet.bindings import BindingChange, GrantedRow, RowKey, apply
from remit.fleet.change import genesis, linked
from remit.fleet.current_release import CurrentRelease
from remit.fleet.history import TenantPosition
from remit.fleet.journal import ReleaseJournal
from remit.policy.revisions.archive import pack
from remit.policy.revisions.runtime_archive import RuntimeArchive, rows_behind
from remit.service.reload.overlays import OverlayRefusedError, Overlays

ACME = Tenant("acme")
BASES = [
    snapshot_of(files(), "acme"),
    snapshot_of(files(bindings=BINDINGS + b"g, user:x, role:viewer, acme\n"), "acme"),
]
WHO = ("user:zoe", "user:ann", "group:team", "user:carl")
HELD = ("role:viewer", "role:editor", "group:team", "group:suspended")
SCOPES = ("a.**", "a.b", "b.**", "b.*")


class Node:
    """Overlays over a log that grows, and the rows as they should be."""

    def __init__(self, folder: Path) -> None:
        self.journal = ReleaseJournal(folder)
        (self.journal.directory / "bindings").mkdir(parents=True, exist_ok=True)
        self.now_us = 1_000
        self.overlays = Overlays(self.journal, lambda: self.now_us, 10_000)
        self.head = genesis(ACME)
        self.rows: dict[RowKey, GrantedRow] = {}

    def change(self, granted: tuple[RuntimeRow, ...], revoked: tuple[RowKey, ...] = ()) -> None:
        change = BindingChange(granted, revoked)
        made = linked(self.head, ACME, self.now_us, "BINDINGS", "ci", change.body)
        append(self.log, [made], after=self.head if self.head.seq else NO_BINDINGS)
        self.head = made.head
        apply(self.rows, made.seq, change)

    def write_anew(self) -> None:
        """As the node does when the changes take more room than the rows."""
        write_whole(self.log, b"".join(_beginning(self.head, self.rows.values())))

    def read(self) -> set[Tenant]:
        return self.overlays.read(self.release)

    @property
    def log(self) -> Path:
        return self.journal.directory / "bindings" / "acme.jsonl"

    @property
    def release(self) -> CurrentRelease:
        bindings = self.head if self.head.seq else NO_BINDINGS
        return CurrentRelease(1, "", {ACME: TenantPosition(self.head, "", bindings)})

    def rebuilt(self, base: Snapshot) -> Snapshot:
        links = [each.row.link(ACME, each.seq) for each in self.rows.values() if each.row.counts(self.now_us)]
        return Snapshot(replace(base.policy, links=(*base.policy.links, *links)))


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def row(name: str, expires_us: int | None = None, holds: str = "role:viewer", scope: str = "a.**") -> RuntimeRow:
    return parse_runtime_row(f"user:{name}", holds, scope, expires_us)


def views(snapshot: Snapshot, who: str, namespace: str = "a.x") -> bool:
    return snapshot.decide(Question(Principal(who), Word("VIEW"), Word("FLOW"), Namespace(namespace))).allowed


def test_without_rows_the_files_serve_under_their_own_revision(node: Node) -> None:
    assert set() == node.read()
    assert BASES[0] is node.overlays.over(ACME, BASES[0])

    node.change((row("zoe"),))
    assert {ACME} == node.read()
    with_row = node.overlays.over(ACME, BASES[0])
    assert views(with_row, "user:zoe")
    assert with_row.revision != BASES[0].revision

    node.change((), (RowKey.of(row("zoe")),))
    node.read()
    without = node.overlays.over(ACME, BASES[0])
    assert (BASES[0].revision, None) == (without.revision, node.overlays.archive(ACME))
    assert not views(without, "user:zoe")


def test_a_row_counts_until_its_end_and_no_longer(node: Node) -> None:
    node.change((row("zoe", 2_000), row("ann")))
    node.read()
    before = node.overlays.over(ACME, BASES[0])
    assert 2_000 == node.overlays.next_end_us()

    node.now_us = 1_999
    assert [] == node.overlays.ended()
    assert before is node.overlays.over(ACME, BASES[0])
    node.now_us = 2_000
    assert [ACME] == node.overlays.ended()
    after = node.overlays.over(ACME, BASES[0])

    assert (True, False) == (views(before, "user:zoe"), views(after, "user:zoe"))
    assert views(after, "user:ann")
    assert before.revision != after.revision
    assert ([], None) == (node.overlays.ended(), node.overlays.next_end_us())


def test_a_row_that_was_granted_for_longer_ends_at_its_new_end(node: Node) -> None:
    for end_us in (2_000, 3_000):
        node.change((row("zoe", end_us),), tuple(node.rows))
        node.read()
        node.overlays.over(ACME, BASES[0])
    seen = {}
    for node.now_us in (1_999, 2_000, 2_999, 3_000):
        seen[node.now_us] = views(node.overlays.over(ACME, BASES[0]), "user:zoe")
    assert {1_999: True, 2_000: True, 2_999: True, 3_000: False} == seen


def test_a_row_ends_though_the_log_was_written_anew_meanwhile(node: Node) -> None:
    node.change((row("zoe", 2_000), row("ann")))
    node.read()
    node.overlays.over(ACME, BASES[0])
    node.write_anew()
    node.change((row("bob"),))
    node.read()
    assert views(node.overlays.over(ACME, BASES[0]), "user:zoe")
    node.now_us = 2_000
    after = node.overlays.over(ACME, BASES[0])
    assert {"user:zoe": False, "user:ann": True, "user:bob": True} == {
        who: views(after, who) for who in ("user:zoe", "user:ann", "user:bob")
    }


def test_more_rows_at_once_than_the_files_have_serve_beside_those_of_the_files(node: Node) -> None:
    for base in BASES:
        names = [f"u{number}" for number in range(len(base.policy.links) + 1)]
        node.change(tuple(row(name, 2_000 if name == "u0" else None) for name in names))
        node.overlays = Overlays(node.journal, lambda: node.now_us, 10_000)
        node.read()
        effective, rebuilt = node.overlays.over(ACME, base), node.rebuilt(base)
        assert [*rebuilt.policy.links] == [*effective.policy.links]
        for who in (*(f"user:{name}" for name in names), "user:alice", "user:x", "user:none"):
            assert views(rebuilt, who) == views(effective, who)
        node.now_us = 2_000
        assert not views(node.overlays.over(ACME, base), "user:u0")
        node.now_us = 1_000
        node.change((), tuple(node.rows))


def test_every_node_has_the_same_revision_whenever_it_read(node: Node) -> None:
    node.change((row("zoe", 2_000), row("ann", 3_000)))
    node.read()
    node.overlays.over(ACME, BASES[0])
    node.now_us = 2_500
    late = Overlays(node.journal, lambda: 2_500, 10_000)
    late.read(node.release)

    assert late.over(ACME, BASES[0]).revision == node.overlays.over(ACME, BASES[0]).revision


def test_changes_that_cancel_out_have_one_revision_whether_read_at_once_or_not(node: Node) -> None:
    late = Overlays(node.journal, lambda: node.now_us, 10_000)
    node.change((row("zoe"),))
    for each in (node.overlays, late):
        each.read(node.release)
        before = each.over(ACME, BASES[0])
    node.change((row("ann"),))
    node.read()
    node.overlays.over(ACME, BASES[0])
    node.change((), (RowKey.of(row("ann")),))
    node.read()
    late.read(node.release)

    after = node.overlays.over(ACME, BASES[0])
    assert after.revision == late.over(ACME, BASES[0]).revision != before.revision


def test_every_node_has_the_rows_in_one_order_whenever_it_read(node: Node) -> None:
    late = Overlays(node.journal, lambda: node.now_us, 10_000)
    for granted in ((row("zoe"), row("ann")), (row("carl"),), (row("zoe", 9_000), row("bert"))):
        node.change(granted)
        node.read()
        often = node.overlays.over(ACME, BASES[0])
    late.read(node.release)

    once = late.over(ACME, BASES[0])
    assert [link.text for link in once.policy.links] == [link.text for link in often.policy.links]
    assert once.revision == often.revision


def test_rows_that_the_files_do_not_open_serve_nowhere_and_are_tried_again(node: Node) -> None:
    node.change((row("zoe"), row("eve", holds="role:owner")))
    node.read()
    for _ in range(2):
        with pytest.raises(
            OverlayRefusedError,
            match=r"`user:eve` in `role:owner` in `a\.\*\*`: `role:owner` is not opened at run time",
        ):
            node.overlays.over(ACME, BASES[0])

    node.change((), (RowKey.of(row("eve", holds="role:owner")),))
    node.read()
    assert views(node.overlays.over(ACME, BASES[0]), "user:zoe")


def test_rows_that_were_lost_are_not_taken_for_none(node: Node) -> None:
    node.change((row("zoe"),))
    node.change((row("ann"),))
    whole = node.log.read_bytes()
    first = b"".join(whole.splitlines(keepends=True)[:-1])
    for left in (None, b"", first, whole[:-1]):
        node.log.unlink()
        if left is not None:
            node.log.write_bytes(left)
        late = Overlays(node.journal, lambda: node.now_us, 10_000)
        with pytest.raises(ValueError, match=r"acme.jsonl` does not hold change 2"):
            late.read(node.release)
        with pytest.raises(OverlayRefusedError, match="rows of run time were not read"):
            late.over(ACME, BASES[0])
        node.log.write_bytes(whole)
        assert {ACME} == late.read(node.release)
        assert views(late.over(ACME, BASES[0]), "user:ann")


def test_a_tenant_whose_rows_were_read_is_told_after_another_one_failed(node: Node) -> None:
    globex = Tenant("globex")
    node.read()
    node.overlays.over(ACME, BASES[0])
    node.change((row("zoe"),))
    both = node.release._replace(tenants={**node.release.tenants, globex: TenantPosition(node.head, "", node.head)})

    with pytest.raises(ValueError, match=r"globex.jsonl` does not hold change 1"):
        node.overlays.read(both)
    assert {ACME} == node.read()


def test_files_without_the_key_have_no_rows(node: Node) -> None:
    node.change((row("zoe"),))
    node.read()
    shut = snapshot_of(files(runtime=b"{}\n"), "acme")

    assert shut is node.overlays.over(ACME, shut)


rows_ = st.builds(
    parse_runtime_row,
    st.sampled_from(WHO),
    st.sampled_from(HELD),
    st.sampled_from(SCOPES),
    st.none() | st.integers(1_001, 1_400),
).filter(lambda each: each.member != each.holds and not (each.holds == "group:suspended" and each.expires_us))
steps = st.one_of(
    st.tuples(st.just("grant"), st.lists(rows_, min_size=1, max_size=3, unique_by=RowKey.of)),
    st.tuples(st.just("revoke"), st.lists(rows_, min_size=1, max_size=2)),
    st.tuples(st.just("clear"), st.none()),
    st.tuples(st.just("write anew"), st.none()),
    st.tuples(st.just("pass"), st.integers(1, 200)),
    st.tuples(st.just("files"), st.sampled_from([0, 1])),
    st.tuples(st.just("restart"), st.none()),
)


short_rows = st.builds(
    parse_runtime_row,
    st.sampled_from(WHO[:2]),
    st.just("role:viewer"),
    st.just("a.**"),
    st.none() | st.integers(1_001, 1_008),
)
ending_steps = st.one_of(
    st.tuples(st.just("grant"), st.lists(short_rows, min_size=1, max_size=1)),
    st.tuples(st.just("write anew"), st.none()),
    st.tuples(st.just("pass"), st.integers(1, 3)),
)


@settings(deadline=None, max_examples=60)
@given(history=st.lists(steps, max_size=14))
def test_what_serves_is_what_a_rebuild_would_serve(
    history: list[tuple[str, object]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    _require_what_a_rebuild_serves(history, tmp_path_factory.mktemp("node"))


@settings(deadline=None, max_examples=200)
@given(history=st.lists(ending_steps, max_size=8))
def test_rows_end_as_they_do_after_a_rebuild(
    history: list[tuple[str, object]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    _require_what_a_rebuild_serves(history, tmp_path_factory.mktemp("node"))


def _require_what_a_rebuild_serves(history: list[tuple[str, object]], folder: Path) -> None:
    node = Node(folder)
    base, archives = BASES[0], dict[str, RuntimeArchive]()
    for step, given_ in history:
        base = _stepped(node, base, step, given_)
        node.read()
        try:
            effective = node.overlays.over(ACME, base)
        except OverlayRefusedError:
            continue
        rebuilt = node.rebuilt(base)
        questions = list(_questions())
        assert [rebuilt.decide(each) for each in questions] == [effective.decide(each) for each in questions]
        _archived(node, effective, archives)
        late = Overlays(node.journal, lambda: node.now_us, 10_000)
        late.read(node.release)
        assert effective.revision == late.over(ACME, base).revision


def _stepped(node: Node, base: Snapshot, step: str, given_: object) -> Snapshot:
    """The files that serve after this step."""
    match step, given_:
        case "grant", list():
            keys = [RowKey.of(each) for each in given_]
            node.change(tuple(given_), tuple(key for key in keys if key in node.rows))
        case "revoke", list():
            node.change((), tuple(RowKey.of(each) for each in given_))
        case "clear", _:
            node.change((), tuple(node.rows))
        case "write anew", _ if node.rows:
            node.write_anew()
        case "pass", int():
            node.now_us += given_
        case "files", int():
            return BASES[given_]
        case "restart", _:
            node.overlays = Overlays(node.journal, lambda: node.now_us, 10_000)
    return base


def _questions() -> Iterator[Question]:
    for who in ("user:zoe", "user:ann", "user:carl", "user:alice", "user:none"):
        for action in ("VIEW", "UPDATE"):
            for namespace in ("a.x", "a.b", "b.c", "b.c.d", "z"):
                yield Question(Principal(who), Word(action), Word("FLOW"), Namespace(namespace))


def test_an_archive_names_the_rows_of_its_revision_whatever_came_before(node: Node) -> None:
    archives: dict[str, RuntimeArchive] = {}

    def after(granted: tuple[RuntimeRow, ...], revoked: tuple[RowKey, ...] = (), *, stored: bool = True) -> str | None:
        node.change(granted, revoked)
        node.read()
        effective = node.overlays.over(ACME, BASES[0])
        if stored:
            return _archived(node, effective, archives)
        assert node.overlays.archive(ACME) is not None
        return None

    assert not after((row("zoe"),))
    assert after((row("ann"),))
    # The files serve alone for a while.
    after((), (RowKey.of(row("zoe")), RowKey.of(row("ann"))))
    assert not after((row("bob"),))
    # The store fails once.
    after((row("cid"),), stored=False)
    assert not after((row("dan"),))
    assert after((), (RowKey.of(row("dan")),))
    # The same revision serves again.
    node.overlays.over(ACME, BASES[0])
    assert node.overlays.archive(ACME) is None


def _archived(node: Node, effective: Snapshot, archives: dict[str, RuntimeArchive]) -> str | None:
    """Stores the archive, if there must be one. Returns on which it builds."""
    archive = node.overlays.archive(ACME)
    if archive is None:
        assert effective.revision in archives or not any(each.row.counts(node.now_us) for each in node.rows.values())
        return None
    archives[effective.revision] = archive
    node.overlays.stored(ACME, archive)
    _require_same_rows(node, archive, archives)
    return archive.after


def _require_same_rows(node: Node, archive: RuntimeArchive, archives: dict[str, RuntimeArchive]) -> None:
    read = RuntimeArchive.read("it", archive.content, ACME, 1_000_000)
    assert read == archive
    found = rows_behind(read, ACME, lambda revision: archives[revision].content, 1_000_000)
    expected = {each.row.link(ACME, each.seq) for each in node.rows.values() if each.row.counts(node.now_us)}
    assert expected == set(found)


def test_an_archive_of_files_alone_has_no_rows() -> None:
    assert RuntimeArchive.read("it", pack({"acme/roles.csv": b""}), ACME, 1_000) is None
    assert RUNTIME
