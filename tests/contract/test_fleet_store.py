import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any, Final

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, delete, event, insert, select, text, update
from support.fleet import allows, files, publish
from support.trees import snapshot_of, tree_of
from support.waiting import until

from remit.audit.chain.chain import Head
from remit.audit.chain.signing import SigningKey
from remit.core.names import Tenant
from remit.core.runtime import parse_runtime_row
from remit.fleet.bindings import BindingChange, GrantedRow, RowKey
from remit.fleet.change import linked, position_of
from remit.fleet.current_release import CurrentRelease
from remit.fleet.errors import ForgedReleaseError, PolicyStoreAwayError, PolicyStoreError, PublishRefusedError
from remit.fleet.history import REMEMBERED, Known, Pulled
from remit.fleet.journal import ReleaseJournal
from remit.fleet.node_report import NodeReport
from remit.fleet.release import Release, SignedRelease
from remit.fleet.schema.migrate import VERSION_TABLE
from remit.fleet.schema.tables import changes, folders, heads, metadata, nodes, releases
from remit.fleet.store import Draft, PolicyStore, Reviewed
from remit.fleet.trust import Trust
from remit.fleet.writes import ABANDONED_S, store_us
from remit.policy.live import LivePolicies, Requirement, RevisionNotCurrentError, TenantPolicy, TenantState

ACME, GLOBEX = Tenant("acme"), Tenant("globex")
MOST = 1_000_000


@pytest.fixture
def store(url: str) -> Iterator[PolicyStore]:
    with PolicyStore(url) as made:
        made.migrate()
        yield made.open()


def pull(store: PolicyStore, known: Known = Known()) -> Pulled:  # noqa: B008 (it never changes)
    pulled = store.pull(known, Trust())
    assert pulled is not None
    return pulled


def files_in(store: PolicyStore, release: Release) -> dict[str, bytes]:
    tree = store.tree(release, MOST)
    return {path: content for folder in (tree.root, *tree.tenants.values()) for path, content in folder.files.items()}


def change(store: PolicyStore, edit: Callable[[Connection], Any]) -> None:
    with store.engine.begin() as connection:
        edit(connection)


def test_a_release_holds_the_files_of_all_tenants(store: PolicyStore) -> None:
    assert store.newest() is None

    first = publish(store, 0, acme=allows("ann"), globex="").release

    assert (1, "", "ci") == (first.seq, first.previous, first.publisher)
    assert files(acme=allows("ann"), globex="") == files_in(store, first)
    newest = store.newest()
    assert newest is not None
    assert first == newest.release == store.release(1).release


def test_releases_form_a_chain_and_move_only_tenants_whose_files_differ(store: PolicyStore) -> None:
    first = publish(store, 0, acme=allows("ann"), globex="").release
    second = publish(store, 1, acme=allows("bob"), globex="").release
    before, after = pull(store), None

    assert first.hash == second.previous
    assert [2, 1] == [each.release.seq for each in store.releases(10)]
    assert {ACME: 2, GLOBEX: 1} == {tenant: each.head.seq for tenant, each in before.known.tenants.items()}
    # The root's files are every tenant's.
    changed = dict(files(acme=allows("bob"), globex="")) | {"vocabulary.yaml": b"kinds: {}\n"}
    store.publish(Draft(tree_of({**changed, "acme/bindings.csv": b""}), "ci"), 2)
    after = pull(store, before.known)
    assert {ACME: 3, GLOBEX: 2} == {tenant: each.head.seq for tenant, each in after.known.tenants.items()}
    revisions = {tenant: each.revision for tenant, each in after.known.tenants.items()}
    tree = store.tree(store.release(3).release, MOST)
    assert {tenant: tree.revision(tenant) for tenant in tree.tenants} == revisions


def test_a_tenant_that_a_release_lacks_is_removed_and_may_come_back(store: PolicyStore) -> None:
    publish(store, 0, acme="", globex="")
    publish(store, 1, acme="")
    gone = pull(store).known.tenants[GLOBEX]
    publish(store, 2, acme="", globex="")
    back = pull(store).known.tenants[GLOBEX]

    assert (2, "") == (gone.head.seq, gone.revision)
    assert (3, True) == (back.head.seq, back.revision != "")


def test_who_has_everything_pulls_nothing(store: PolicyStore) -> None:
    assert store.pull(Known(), Trust()) is None
    publish(store, 0, acme="")
    known = pull(store).known

    assert store.pull(known, Trust()) is None


def test_a_glance_finds_what_is_new(store: PolicyStore) -> None:
    publish(store, 0, acme=allows("ann"), globex="")
    known = pull(store).known
    assert store.pull(known, Trust(), glance=True) is None

    with store.changing(GLOBEX) as write:
        write.commit(BindingChange((parse_runtime_row("user:zoe", "role:viewer"),), ()), "ci")
    granted = store.pull(known, Trust(), glance=True)
    assert granted is not None
    assert store.pull(granted.known, Trust(), glance=True) is None

    publish(store, 1, acme=allows("ann"), globex="", new="")
    assert store.pull(granted.known, Trust(), glance=True) == pull(store, granted.known)


def test_an_idle_node_asks_little(store: PolicyStore) -> None:
    publish(store, 0, acme="", globex="")
    known = pull(store).known
    store.beat(NodeReport("node-1", "x", "0.1.0"))
    asked: list[str] = []

    @event.listens_for(store.engine, "before_cursor_execute")
    def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith("BEGIN"):
            asked.append(statement)

    assert store.pull(known, Trust()) is None
    assert 1 == len(asked)
    store.beat(NodeReport("node-1", "x", "0.1.0"))
    assert ["node-1"] == [each.node for each in store.nodes()]
    assert 4 == len(asked)
    with store.changing(ACME) as write:
        write.commit(BindingChange((parse_runtime_row("user:zoe", "role:viewer"),), ()), "service:admin")
    asked.clear()
    assert store.pull(known, Trust()) is not None
    assert 3 == len(asked)


def test_who_missed_many_releases_verifies_each(store: PolicyStore) -> None:
    known = None
    for seq in range(5):
        publish(store, seq, acme=allows(f"user-{seq}"))
        known = known or pull(store).known
    seen: list[int] = []

    class Noting(Trust):
        def require_release(self, signed: SignedRelease) -> None:
            seen.append(signed.release.seq)

    assert known is not None
    pulled = store.pull(known, Noting())

    assert [2, 3, 4, 5] == seen
    assert pulled is not None
    assert pull(store).known == pulled.known


def test_a_release_follows_the_newest_or_is_refused(store: PolicyStore) -> None:
    publish(store, 0, acme="")

    for after in (0, 2):
        with pytest.raises(PublishRefusedError, match=f"release 1 was published by ci after release {after}"):
            publish(store, after, acme=allows("ann"))
    assert [1] == [each.release.seq for each in store.releases(10)]


def test_of_two_publishers_at_once_one_is_refused(store: PolicyStore) -> None:
    publish(store, 0, acme="")

    def attempt(name: str) -> str:
        try:
            publish(store, 1, acme=allows(name))
        except PublishRefusedError:
            return ""
        return name

    with ThreadPoolExecutor(4) as pool:
        winners = [each for each in pool.map(attempt, ["ann", "bob", "cy", "di"]) if each]

    assert 1 == len(winners)
    newest = store.newest()
    assert newest is not None
    assert files(acme=allows(winners[0])) == files_in(store, newest.release)


def test_nothing_is_published_if_the_transaction_ends_early(
    store: PolicyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(store, 0, acme="")
    before = pull(store)
    monkeypatch.setattr("remit.fleet.store.notify", lambda _: (_ for _ in ()).throw(OSError("the publisher dies")))

    with pytest.raises(PolicyStoreError):
        publish(store, 1, acme=allows("ann"), globex="")

    assert before == pull(store)
    with store.engine.connect() as connection:
        assert 2 == len(connection.execute(select(folders)).all())


def test_a_release_is_reviewed_against_the_rows_that_are_in_force_by_the_stores_time(store: PolicyStore) -> None:
    publish(store, 0, acme=allows("ann"))
    with store.changing(Tenant("acme")) as write:
        ends = [write.now_us - 1, write.now_us + 3_600_000_000]
        rows = [parse_runtime_row(f"user:{number}", "role:viewer", "", end) for number, end in enumerate(ends)]
        write.commit(BindingChange(tuple(rows), ()), "alice")
    reviewed: list[str] = []

    def review(_: Tenant, granted: Sequence[GrantedRow]) -> Reviewed:
        reviewed.extend(each.row.member for each in granted)
        return Reviewed()

    store.publish(Draft(tree_of(files(acme=allows("bob"))), "ci"), 1, review=review)
    assert ["user:1"] == reviewed


def test_a_change_has_the_time_after_its_wait_for_another_one(store: PolicyStore) -> None:
    """The other one changes nothing."""
    publish(store, 0, acme=allows("ann"))
    waits = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    def time_us() -> int:
        with store.changing(ACME) as write:
            return write.now_us

    with ThreadPoolExecutor(1) as pool:
        with store.changing(ACME) as first, store.engine.connect() as looking:
            after = pool.submit(time_us)
            if store.engine.dialect.name == "postgresql":
                autocommit = looking.execution_options(isolation_level="AUTOCOMMIT")
                until(lambda: autocommit.execute(waits).scalar_one() == 1)
            held_us = store_us(first._connection)
        assert held_us <= after.result()


HOLDS: Final = """
import sys, time
from remit.core.names import Tenant
from remit.fleet.store import PolicyStore
with PolicyStore(sys.argv[1]) as store, store.changing(Tenant("acme")):
    print("locked", flush=True)
    time.sleep(3_600)
"""


def test_a_process_that_stops_in_the_middle_of_a_change_gives_its_lock_up(store: PolicyStore, url: str) -> None:
    """PostgreSQL alone: whoever may write to a SQLite file shares a machine with whoever can end such a process."""
    if store.engine.dialect.name != "postgresql":
        return
    publish(store, 0, acme=allows("ann"))
    row = parse_runtime_row("user:ann", "group:suspended")
    with subprocess.Popen([sys.executable, "-c", HOLDS, url], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"locked\n"
            holder.send_signal(signal.SIGSTOP)
            with store.changing(ACME) as write:
                head = write.commit(BindingChange((row,), ()), "ci")
        finally:
            holder.kill()
    assert head == store.bindings(ACME)[0]


def test_a_change_that_takes_long_to_find_out_keeps_its_lock(store: PolicyStore) -> None:
    publish(store, 0, acme=allows("ann"))
    row = parse_runtime_row("user:ann", "group:suspended")
    with store.changing(ACME) as write:
        began_s = monotonic()
        until(lambda: monotonic() - began_s > 1.5 * ABANDONED_S)
        write.commit(BindingChange((row,), ()), "ci")
    assert [row] == [each.row for each in store.bindings(ACME)[1]]


def test_a_change_reads_rows_that_end_apart_from_the_others(store: PolicyStore) -> None:
    publish(store, 0, acme=allows("ann"))
    with store.changing(ACME) as write:
        ends = [write.now_us - 1, write.now_us + 3_600_000_000, None]
        rows = [parse_runtime_row(f"user:{number}", "role:viewer", "", end) for number, end in enumerate(ends)]
        write.commit(BindingChange(tuple(rows), ()), "alice", "r-1")
    with store.changing(ACME) as write:
        named = [RowKey.of(rows[number]) for number in (0, 2)]
        assert ["user:0", "user:2"] == [each.row.member for each in write.rows(named)]
        assert ["user:0", "user:1"] == [each.row.member for each in write.rows([RowKey.of(rows[1])])]
        assert ["user:1"] == [each.row.member for each in write.ending()]


def test_a_change_finds_requests_and_ends_without_a_look_at_every_row(store: PolicyStore) -> None:
    asked: list[tuple[str, Any]] = []

    def note(*each: Any) -> None:
        asked.append((each[2], each[3]))

    publish(store, 0, acme=allows("ann"))
    with store.changing(ACME) as write:
        event.listen(store.engine, "before_cursor_execute", note)
        write.made_by("r-1")
        write.rows([RowKey.of(parse_runtime_row("user:1", "role:viewer"))])
        list(write.ending())
        event.remove(store.engine, "before_cursor_execute", note)
    assert 3 == len(asked)
    found = []
    with store.engine.connect() as connection:
        if store.file is None:
            # Of few rows PostgreSQL reads all.
            connection.execute(text("SET enable_seqscan = off"))
        for statement, parameters in asked:
            explain = "EXPLAIN QUERY PLAN" if store.file is not None else "EXPLAIN"
            found.append(str(connection.exec_driver_sql(f"{explain} {statement}", parameters).all()))
    for index, plan in zip(("changes_by_request", "bindings_by_end", "bindings_by_end"), found, strict=True):
        assert index in plan


def _forge_body(connection: Connection) -> None:
    (row,) = connection.execute(select(releases).where(releases.c.seq == 2)).all()
    body = json.dumps(json.loads(row.body) | {"publisher": "mallory"}, sort_keys=True, separators=(",", ":"))
    connection.execute(update(releases).where(releases.c.seq == 2).values(body=body))


def _forge_release(connection: Connection) -> None:
    """As `_forge_body`, with the right hash: the chain behind it breaks."""
    (row,) = connection.execute(select(releases).where(releases.c.seq == 2)).all()
    forged = Release.parse(json.dumps(json.loads(row.body) | {"message": "x"}, sort_keys=True, separators=(",", ":")))
    connection.execute(update(releases).where(releases.c.seq == 2).values(body=forged.text, hash=forged.hash))


def _forge_change(connection: Connection) -> None:
    connection.execute(update(changes).where(changes.c.tenant == "acme", changes.c.seq == 2).values(caller="mallory"))


def _drop_change(connection: Connection) -> None:
    connection.execute(delete(changes).where(changes.c.tenant == "acme", changes.c.seq == 2))


def _add_change(connection: Connection) -> None:
    (row,) = connection.execute(select(heads).where(heads.c.tenant == "acme")).all()
    forged = linked(Head(row.seq, bytes(row.hash)), ACME, 1, "RELEASE", "mallory", "{}")
    connection.execute(insert(changes).values(**forged._replace(seq=9)._asdict()))
    connection.execute(update(heads).where(heads.c.tenant == "acme").values(seq=9, hash=forged.hash))


@pytest.mark.parametrize(
    ("forge", "told"),
    [
        (_forge_body, "release 2 does not have the hash under which it is stored"),
        (_forge_release, "release 3 does not follow release 2"),
        (_forge_change, "change 2 of tenant `acme` does not follow the one before"),
        (_drop_change, "change 3 of tenant `acme` does not follow the one before"),
        (_add_change, "change 9 of tenant `acme` does not follow the one before"),
    ],
)
def test_a_forged_history_is_refused(store: PolicyStore, forge: Callable[[Connection], None], told: str) -> None:
    publish(store, 0, acme="")
    known = pull(store).known
    publish(store, 1, acme=allows("ann"))
    publish(store, 2, acme=allows("bob"))
    change(store, forge)

    with pytest.raises(ForgedReleaseError, match=told):
        store.pull(known, Trust())


@pytest.mark.parametrize(
    ("content", "told"), [(b"no zip", "damaged"), (None, "does not hold the files"), (b"", "damaged")]
)
def test_files_that_are_not_those_of_the_release_are_refused(
    store: PolicyStore, content: bytes | None, told: str
) -> None:
    release = publish(store, 0, acme=allows("ann")).release
    where = folders.c.digest == release.tenants[ACME]
    edit = delete(folders).where(where) if content is None else update(folders).where(where).values(content=content)
    change(store, lambda connection: connection.execute(edit))

    with pytest.raises(ForgedReleaseError, match=told):
        store.tree(release, MOST)


def test_files_of_another_folder_are_refused(store: PolicyStore) -> None:
    release = publish(store, 0, acme=allows("ann"), globex=allows("eve", "globex")).release
    theirs = select(folders.c.content).where(folders.c.digest == release.tenants[GLOBEX]).scalar_subquery()
    mine = update(folders).where(folders.c.digest == release.tenants[ACME]).values(content=theirs)
    change(store, lambda connection: connection.execute(mine))

    with pytest.raises(ForgedReleaseError, match=r"`globex/bindings.csv` is no policy file of `acme`"):
        store.tree(release, MOST)


def test_a_signature_is_required_once_keys_are_known(store: PolicyStore, tmp_path: Path) -> None:
    key, other = SigningKey.new(tmp_path / "one"), SigningKey.new(tmp_path / "two")
    signed = publish(store, 0, key, acme="")
    unsigned = publish(store, 1, acme=allows("ann"))

    signed.require_signature([key.public, other.public])
    unsigned.require_signature([])
    with pytest.raises(ForgedReleaseError, match=r"signed by key `[0-9a-f]+`, which is not in `policy_keys`"):
        signed.require_signature([other.public])
    with pytest.raises(ForgedReleaseError, match="release 2 is not signed"):
        unsigned.require_signature([key.public])
    moved = SignedRelease(unsigned.release, signed.key_id, signed.signature)
    with pytest.raises(ForgedReleaseError, match=r"release 2 has a signature that key `[0-9a-f]+` did not make"):
        moved.require_signature([key.public])


def test_a_lost_tail_is_a_fork_and_is_resynced(store: PolicyStore) -> None:
    publish(store, 0, acme="")
    publish(store, 1, acme=allows("ann"))
    known = pull(store).known

    def lose(connection: Connection) -> None:
        connection.execute(delete(releases).where(releases.c.seq == 2))
        connection.execute(delete(changes).where(changes.c.seq == 2))
        (row,) = connection.execute(select(changes).where(changes.c.tenant == "acme")).all()
        connection.execute(update(heads).where(heads.c.tenant == "acme").values(seq=1, hash=row.hash))

    change(store, lose)
    shorter = pull(store, known)
    publish(store, 1, acme=allows("bob"))
    other = pull(store, known)

    assert "the store ends at release 1, and this node has release 2" == shorter.fork
    assert 1 == shorter.known.seq
    assert other.fork.startswith("the store has another release 2: ")
    assert (0, 2 + REMEMBERED) == other.doubts[ACME]
    assert pull(store) == other._replace(fork="", doubts={})


def test_the_positions_that_a_node_keeps_are_pulled(store: PolicyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("remit.fleet.history.REMEMBERED", 3)
    for seq in range(5):
        publish(store, seq, acme=allows(f"user-{seq}"), globex="")
    first = pull(store)

    assert [3, 4, 5] == [*first.passed[ACME]]
    assert first.passed[ACME][5] == position_of(ACME, first.known.tenants[ACME].head)
    assert [1] == [*first.passed[Tenant("globex")]]

    publish(store, 5, acme=allows("ann"), globex="")
    assert {ACME: [6]} == {tenant: [*each] for tenant, each in pull(store, first.known).passed.items()}


def test_a_node_tells_a_lost_change_whatever_changed_since(
    store: PolicyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store lost the changes 4 and 5, which the node had seen, and went on with others."""
    monkeypatch.setattr("remit.fleet.history.REMEMBERED", 3)
    monkeypatch.setattr("remit.fleet.current_release._LONG", 0)
    journal = ReleaseJournal(tmp_path / "journal")
    journal.begin()

    def take(known: Known) -> CurrentRelease:
        pulled = pull(store, known)
        journal.put(pulled, store.folders, 1_000_000)
        current = journal.current()
        assert current is not None
        return current

    def lose(connection: Connection) -> None:
        connection.execute(delete(releases).where(releases.c.seq > 3))
        connection.execute(delete(changes).where(changes.c.seq > 3))
        last = connection.execute(select(changes).where(changes.c.tenant == "acme", changes.c.seq == 3)).one()
        connection.execute(update(heads).where(heads.c.tenant == "acme").values(seq=3, hash=last.hash))

    for seq in range(5):
        publish(store, seq, acme=allows(f"user-{seq}"))
    lost = take(Known()).passed[ACME]
    change(store, lose)
    now: CurrentRelease | None = None
    for seq in range(3, 20):
        publish(store, seq, acme=allows(f"other-{seq}"))
        now = take(journal.known())

    assert now is not None
    kept = now.passed[ACME]
    # As many before and after the last change that was seen, and the newest.
    assert [2, 3, 4, 5, 6, 7, 8, 18, 19, 20] == [*kept]
    assert lost[3] == kept[3]
    assert {lost[4], lost[5]}.isdisjoint(kept.values())
    live = LivePolicies()
    live.wanted, live.passed = (lambda: None), now.passed
    snapshot = snapshot_of({"vocabulary.yaml": b"kinds: {}\n", "acme/bindings.csv": b""}, "acme")
    live.put(TenantPolicy(ACME, TenantState.SERVING, 0, snapshot.at(kept[20])))
    for each in (lost[4], lost[5]):
        with pytest.raises(RevisionNotCurrentError, match="is of another history"):
            live.snapshot_as(ACME, Requirement(at_least=each))
    assert live.snapshot_as(ACME, Requirement(at_least=kept[4])) is not None
    journal.end()


def test_a_tenants_changes_alone_can_fork(store: PolicyStore) -> None:
    publish(store, 0, acme="")
    known = pull(store).known
    ahead = {ACME: known.tenants[ACME]._replace(head=Head(2, b"x" * 32))}
    beside = {ACME: known.tenants[ACME]._replace(head=Head(1, b"x" * 32))}

    assert (
        "the changes of tenant `acme` end at 1, and this node has 2" == pull(store, known._replace(tenants=ahead)).fork
    )
    assert "the store has another change 1 of tenant `acme`" == pull(store, known._replace(tenants=beside)).fork


def test_an_emptied_store_serves_nothing_new(store: PolicyStore) -> None:
    publish(store, 0, acme="")
    known = pull(store).known
    change(store, lambda connection: [connection.execute(delete(each)) for each in metadata.sorted_tables])

    with pytest.raises(ForgedReleaseError, match="the store ends at release 0, and this node has release 1"):
        store.pull(known, Trust())


def test_a_live_node_that_cannot_read_the_format_stops_a_release(store: PolicyStore) -> None:
    old = NodeReport("node-1", "x", "0.0.9", formats=frozenset({0}))
    store.beat(old)
    store.beat(NodeReport("node-2", "y", "0.1.0"))

    with pytest.raises(PublishRefusedError, match=r"cannot read releases of format 1: `node-1` \(remit 0\.0\.9\);"):
        publish(store, 0, acme="")

    store.beat(NodeReport("node-1", "x", "0.0.9", formats=frozenset({0}), stopped=True))
    publish(store, 0, acme="")
    store.beat(old)
    change(store, lambda connection: connection.execute(update(nodes).values(seen_us=nodes.c.seen_us - 31_000_000)))
    publish(store, 1, acme=allows("ann"))


def test_nodes_are_known_by_their_last_report(store: PolicyStore) -> None:
    store.beat(NodeReport("node-1", "x", "0.1.0", 3, "ab", ("acme serves nothing",), "polling"))
    assert store.beat(NodeReport("node-1", "z", "0.1.0", 4, "cd", (), "listening"))
    assert not store.beat(NodeReport("node-1", "z", "0.1.0", 4, "cd", (), "listening"))

    (node,) = store.nodes()

    assert ("node-1", "z", "0.1.0", 4, "cd", (), "listening", False) == (
        *(node.node, node.instance, node.version, node.seq, node.hash),
        *(node.behind, node.mode, node.stopped),
    )
    assert node.is_live
    assert node.serves(4, "cd")
    assert not node.serves(4, "ce")
    assert (True, False) == (store.forget("node-1"), store.forget("node-1"))
    assert [] == store.nodes()


def test_migrations_make_the_tables(url: str) -> None:
    with PolicyStore(url) as store:
        store.migrate()
        store.migrate()
        with store.engine.connect() as connection:
            options = {"version_table": VERSION_TABLE}
            context = MigrationContext.configure(connection, opts=options)
            assert [] == compare_metadata(context, metadata)


def test_a_database_that_is_no_policy_store_says_what_to_do(url: str) -> None:
    with PolicyStore(url) as store, pytest.raises(PolicyStoreError, match="`remit publish` with `--migrate` makes "):
        store.open()


@pytest.mark.parametrize("version", ["0000", "0099"])
def test_a_schema_that_is_not_known_is_refused_with_the_known_ones(url: str, version: str) -> None:
    with PolicyStore(url) as store:
        store.migrate()
        change(
            store, lambda connection: connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '{version}'"))
        )
        told = rf"policy store `{re.escape(store.url)}` has schema `{version}`, .* \(it knows `0001`\): use the remit that wrote it"
        for step in (store.open, store.migrate):
            with pytest.raises(PolicyStoreError, match=told):
                step()


@pytest.mark.parametrize(
    ("url_", "told"),
    [
        ("nonsense", "the policy store's URL is malformed"),
        ("mysql://localhost/x", "expected `sqlite:///PATH` or"),
        ("sqlite://", "the policy store needs a file"),
        ("postgresql+psycopg://nobody:secret@127.0.0.1:1/x", "cannot open"),
    ],
)
def test_a_store_that_cannot_be_had_is_named_without_its_password(url_: str, told: str) -> None:
    with pytest.raises(PolicyStoreError, match=told) as caught:
        PolicyStore(url_, timeout_s=1).open()
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value, PolicyStoreAwayError) == ("127.0.0.1:1" in url_)
