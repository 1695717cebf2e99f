import errno
import os
import select
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from threading import Event

import pytest
from support.fleet import allows, files
from support.trees import Files, tree_of

from remit.core.names import Tenant
from remit.core.position import Position
from remit.core.runtime import parse_runtime_row
from remit.fleet.bindings import BindingChange
from remit.fleet.change import PolicyChange, genesis, linked, position_of
from remit.fleet.current_release import Fork
from remit.fleet.errors import ForgedReleaseError, PolicyStoreError
from remit.fleet.history import Known, Pulled, PulledBindings, TenantPosition
from remit.fleet.journal import ReleaseJournal, StoreState
from remit.fleet.node_report import KnownNode
from remit.fleet.release import Release
from remit.policy.read.limits import Limits
from remit.policy.read.tree import read_tree
from remit.policy.revisions.archive import pack

MOST = 1_000_000


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[ReleaseJournal]:
    made = ReleaseJournal(tmp_path / "releases")
    made.begin()
    yield made
    made.end()


class Store:
    """Files by digest, and which of them were fetched."""

    def __init__(self) -> None:
        self.packed: dict[str, bytes] = {}
        self.fetched: list[str] = []

    def pulled(self, seq: int, fork: str = "", **bindings: str) -> Pulled:
        tree = tree_of(files(**bindings))
        self.packed |= {each.digest: pack(each.files) for each in (tree.root, *tree.tenants.values())}
        tenants = {tenant: folder.digest for tenant, folder in tree.tenants.items()}
        release = Release(seq, "" if seq == 1 else "0" * 64, tree.root.digest, tenants, seq, "ci")
        heads = {
            tenant: TenantPosition(
                linked(genesis(tenant), tenant, seq, "RELEASE", "ci", "{}").head, tree.revision(tenant)
            )
            for tenant in tenants
        }
        return Pulled(Known(seq, release.hash, heads), release, {}, fork)

    def fetch(self, digests: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        for each in digests:
            self.fetched.append(each)
            yield each, self.packed[each]


def read(journal: ReleaseJournal) -> Files:
    tree = read_tree(journal.policies, Limits())
    return {path: content for folder in (tree.root, *tree.tenants.values()) for path, content in folder.files.items()}


def test_a_release_is_there_whole_after_a_restart(journal: ReleaseJournal) -> None:
    store = Store()
    assert Known() == journal.known()
    assert journal.current() is None

    journal.put(store.pulled(1, acme=allows("ann"), globex=""), store.fetch, MOST)
    journal.put(store.pulled(2, acme=allows("bob")), store.fetch, MOST)

    again = ReleaseJournal(journal.directory)
    assert store.pulled(2, acme=allows("bob")).known == again.known()
    assert files(acme=allows("bob")) == read(again)
    current = again.current()
    assert current is not None
    acme = Tenant("acme")
    assert tree_of(files(acme=allows("bob"))).revision(acme) == current.tenants[acme].revision
    assert ("acme", 1) == current.position(acme)[:2]


def test_a_fork_stays_until_the_next_one_and_is_noted_once_it_is_recorded(journal: ReleaseJournal) -> None:
    def fork() -> Fork | None:
        current = journal.current()
        assert current is not None
        return current.fork

    store = Store()
    journal.put(store.pulled(1, acme=allows("ann")), store.fetch, MOST)
    assert fork() is None
    forked = store.pulled(1, "another one", acme=allows("eve"))
    journal.put(forked, store.fetch, MOST)
    journal.put(store.pulled(2, acme=allows("bob")), store.fetch, MOST)

    first = fork()
    assert Fork("another one", 1, forked.release.hash) == first
    assert journal.recorded_fork() is None
    journal.record_fork(first)
    assert first == ReleaseJournal(journal.directory).recorded_fork()

    journal.put(store.pulled(1, "another one", acme=allows("cid")), store.fetch, MOST)
    assert first != fork()


def test_the_last_positions_of_each_tenant_are_of_one_history(journal: ReleaseJournal) -> None:
    def passed() -> Iterator[dict[Tenant, list[Position]]]:
        for each in (journal, ReleaseJournal(journal.directory)):
            current = each.current()
            assert current is not None
            yield {tenant: list(found.values()) for tenant, found in current.passed.items()}

    store, acme, globex = Store(), Tenant("acme"), Tenant("globex")
    old = Position(acme, 0, "a" * 16)
    first = store.pulled(1, acme=allows("ann"), globex="")
    heads = {tenant: position_of(tenant, place.head) for tenant, place in first.known.tenants.items()}
    journal.put(first._replace(passed={acme: {0: old, 1: heads[acme]}}), store.fetch, MOST)
    there = {acme: [old, heads[acme]], globex: [heads[globex]]}
    assert [there, there] == [*passed()]

    # Nothing of acme has changed.
    journal.put(store.pulled(2, acme=allows("ann"), globex="#"), store.fetch, MOST)
    assert [old, heads[acme]] == next(passed())[acme]

    forked = store.pulled(1, "another one", acme=allows("eve"), globex="")
    journal.put(forked, store.fetch, MOST)
    there = {tenant: [position_of(tenant, place.head)] for tenant, place in forked.known.tenants.items()}
    assert [there, there] == [*passed()]


def test_a_change_writes_the_positions_of_its_own_tenant(journal: ReleaseJournal) -> None:
    """There are hundreds of each, and there may be a thousand tenants."""

    def written() -> tuple[int, set[str]]:
        return (journal.policies.parent / "release.json").stat().st_size, {
            path.name for path in (journal.directory / "positions").iterdir() if path.stat().st_mtime_ns > 0
        }

    store, acme, globex = Store(), Tenant("acme"), Tenant("globex")
    many = {tenant: {seq: Position(tenant, seq, "a" * 16) for seq in range(200)} for tenant in (acme, globex)}
    first = store.pulled(1, acme=allows("ann"), globex="")
    journal.put(first, store.fetch, MOST)
    without, _ = written()
    journal.put(first._replace(passed=many), store.fetch, MOST)
    assert (without, {"acme", "globex"}) == written()

    for path in (journal.directory / "positions").iterdir():
        os.utime(path, (0, 0))
    journal.put(first._replace(passed={acme: many[acme]}), store.fetch, MOST)
    assert (without, {"acme"}) == written()


@pytest.mark.parametrize("damage", [b"", b"nonsense\n", b"1 \xff"])
def test_positions_that_were_lost_are_those_that_are_not_known(journal: ReleaseJournal, damage: bytes) -> None:
    """The present one is in `release.json`."""
    store, acme = Store(), Tenant("acme")
    pulled = store.pulled(1, acme=allows("ann"))
    head = position_of(acme, pulled.known.tenants[acme].head)
    journal.put(pulled._replace(passed={acme: {0: Position(acme, 0, "a" * 16), 1: head}}), store.fetch, MOST)
    (journal.directory / "positions" / "acme").write_bytes(damage)
    again = ReleaseJournal(journal.directory)
    current = again.current()
    assert current is not None
    assert ({1: head}, pulled.known) == (current.passed[acme], again.known())


def test_files_that_are_here_already_are_not_fetched(journal: ReleaseJournal) -> None:
    store = Store()
    journal.put(store.pulled(1, acme=allows("ann"), globex="", empty=""), store.fetch, MOST)
    store.fetched.clear()

    journal.put(store.pulled(2, acme=allows("bob"), globex="", empty=""), store.fetch, MOST)

    assert [tree_of(files(acme=allows("bob"))).tenants[Tenant("acme")].digest] == store.fetched
    assert files(acme=allows("bob"), globex="", empty="") == read(journal)


@pytest.mark.parametrize(
    "damage",
    [
        lambda policies: (policies / "acme/bindings.csv").write_bytes(b""),
        lambda policies: (policies / "acme/bindings.csv").unlink(),
        lambda policies: (policies / "acme/roles.csv").write_bytes(b"p, user:eve, acme, **, *, *, allow\n"),
        lambda policies: (policies / "evil").mkdir(),
        lambda policies: (policies.parent / "release.json").write_bytes(b"{}"),
        lambda policies: (policies.parent / "release.json").write_bytes(b""),
    ],
)
def test_a_damaged_release_is_pulled_again(journal: ReleaseJournal, damage: object) -> None:
    store = Store()
    pulled = store.pulled(1, acme=allows("ann"))
    journal.put(pulled, store.fetch, MOST)
    damage(journal.policies)  # type: ignore[operator]

    assert Known() == journal.known()

    journal.put(pulled, store.fetch, MOST)
    assert files(acme=allows("ann")) == read(journal)
    assert pulled.known == journal.known()


def test_wrong_files_leave_the_release_that_was_there(journal: ReleaseJournal) -> None:
    store = Store()
    journal.put(store.pulled(1, acme=allows("ann")), store.fetch, MOST)
    wrong = store.pulled(2, acme=allows("bob"))
    digest = wrong.release.tenants[Tenant("acme")]
    store.packed[digest] = pack({"acme/bindings.csv": b"p, user:eve, acme, **, FLOW, VIEW, allow\n"})

    with pytest.raises(ForgedReleaseError, match="the files of `acme`"):
        journal.put(wrong, store.fetch, MOST)
    store.packed[digest] = pack({"acme/bindings.csv": b"#" * 2_000})
    with pytest.raises(ForgedReleaseError, match="holds 2000 bytes, expected at most 1000"):
        journal.put(wrong, store.fetch, 1_000)

    assert 1 == journal.known().seq
    assert files(acme=allows("ann")) == read(journal)
    assert [] == [each.name for each in (journal.directory / "releases").iterdir() if each.name.startswith(".")]


def test_changes_about_other_files_are_refused(journal: ReleaseJournal) -> None:
    store = Store()
    pulled = store.pulled(1, acme=allows("ann"))
    of_bob = store.pulled(1, acme=allows("bob")).known.tenants

    with pytest.raises(ForgedReleaseError, match="the last change of tenant `acme` is not about the files"):
        journal.put(pulled._replace(known=pulled.known._replace(tenants=of_bob)), store.fetch, MOST)
    assert journal.current() is None


def with_rows(pulled: Pulled, *names: str) -> Pulled:
    """The same files, and then one change of acme's rows for each name."""
    acme, bindings = Tenant("acme"), list[PolicyChange]()
    place = pulled.known.tenants[acme]
    for name in names:
        row = parse_runtime_row(f"user:{name}", "role:viewer")
        change = linked(place.head, acme, 5, "BINDINGS", "ci", BindingChange((row,), ()).body)
        place = place._replace(head=change.head, bindings=change.head)
        bindings.append(change)
    known = pulled.known._replace(tenants={**pulled.known.tenants, acme: place})
    return pulled._replace(known=known, bindings={acme: PulledBindings(bindings, None)})


@pytest.mark.parametrize("damage", [lambda log: log.unlink(), lambda log: os.truncate(log, log.stat().st_size - 1)])
def test_rows_that_were_lost_are_pulled_again(journal: ReleaseJournal, damage: Callable[[Path], None]) -> None:
    store, acme = Store(), Tenant("acme")
    pulled = with_rows(store.pulled(1, acme=allows("ann")), "zoe", "bob")
    journal.put(pulled, store.fetch, MOST)
    log, newest = journal.directory / "bindings" / "acme.jsonl", pulled.known.tenants[acme].bindings
    whole = log.read_bytes().splitlines()[1:]
    assert pulled.known == journal.known()

    damage(log)
    assert Known() == journal.known()
    more = PulledBindings([linked(newest, acme, 6, "BINDINGS", "ci", BindingChange((), ()).body)], newest)
    with pytest.raises(PolicyStoreError, match=r"acme.jsonl` does not hold change 3"):
        journal.put(pulled._replace(bindings={acme: more}), store.fetch, MOST)

    journal.put(pulled, store.fetch, MOST)
    assert (pulled.known, whole) == (journal.known(), log.read_bytes().splitlines()[1:])


def test_a_forged_release_leaves_the_rows_that_were_there(journal: ReleaseJournal) -> None:
    store = Store()
    pulled = with_rows(store.pulled(1, acme=allows("ann")), "zoe")
    journal.put(pulled, store.fetch, MOST)
    forged = with_rows(store.pulled(2, acme=allows("bob")), "eve")
    of_cid = store.pulled(2, acme=allows("cid")).known.tenants

    with pytest.raises(ForgedReleaseError, match="is not about the files"):
        journal.put(forged._replace(known=forged.known._replace(tenants=of_cid)), store.fetch, MOST)
    assert pulled.known == journal.known()


def test_a_change_of_rows_alone_leaves_the_files_alone(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    journal, store = ReleaseJournal(tmp_path / "link" / "releases"), Store()
    journal.begin()
    pulled = store.pulled(1, acme=allows("ann"))
    journal.put(pulled, store.fetch, MOST)
    written = (journal.policies / "acme" / "bindings.csv").stat().st_ino

    journal.put(with_rows(pulled, "zoe"), store.fetch, MOST)

    assert with_rows(pulled, "zoe").known == journal.known()
    assert written == (journal.policies / "acme" / "bindings.csv").stat().st_ino
    journal.end()


def test_files_never_leave_their_folder(journal: ReleaseJournal) -> None:
    store = Store()
    pulled = store.pulled(1, acme=allows("ann"))
    from remit.policy.read.tree import Folder  # noqa: PLC0415

    evil = {"acme/../../../evil": b"x"}
    digest = Folder("acme", evil).digest
    store.packed[digest] = pack(evil)
    release = Release(1, "", pulled.release.root, {Tenant("acme"): digest}, 1, "ci")

    with pytest.raises(ForgedReleaseError, match=r"`acme/../../../evil` is no policy file of `acme`"):
        journal.put(pulled._replace(release=release), store.fetch, MOST)
    assert not list(journal.directory.rglob("evil"))


def test_a_few_releases_are_kept(journal: ReleaseJournal) -> None:
    store = Store()
    for seq in range(1, 8):
        journal.put(store.pulled(seq, acme=allows(f"user-{seq}")), store.fetch, MOST)
        time.sleep(0.01)

    names = sorted(each.name.partition("-")[0] for each in (journal.directory / "releases").iterdir())
    assert ["5", "6", "7"] == names
    assert files(acme=allows("user-7")) == read(journal)


def test_an_edit_of_a_tenant_touches_no_other_file(journal: ReleaseJournal) -> None:
    store = Store()
    journal.put(store.pulled(1, acme=allows("ann"), globex="", gone=""), store.fetch, MOST)
    before = {path: path.stat() for path in (journal.policies.resolve()).rglob("*.csv") if path.parent.name == "globex"}

    journal.put(store.pulled(2, acme=allows("bob"), globex="", new=""), store.fetch, MOST)

    assert files(acme=allows("bob"), globex="", new="") == read(journal)
    assert before
    assert before == {path: path.stat() for path in before}


def test_another_root_leaves_the_files_of_the_release_before_alone(
    journal: ReleaseJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store()
    journal.put(store.pulled(1, acme=allows("ann"), globex=""), store.fetch, MOST)
    before, old = journal.policies.resolve(), read(journal)

    monkeypatch.setattr("support.fleet.VOCABULARY", old["vocabulary.yaml"] + b"# another\n")
    journal.put(store.pulled(2, acme=allows("bob"), globex=""), store.fetch, MOST)

    assert files(acme=allows("bob"), globex="") == read(journal)
    assert old == {
        path.relative_to(before).as_posix(): path.read_bytes() for path in before.rglob("*") if path.is_file()
    }


def test_a_process_that_ends_while_it_exchanges_folders_leaves_the_release_that_was_there(
    journal: ReleaseJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store()
    first = store.pulled(1, acme=allows("ann"), globex="", gone="")
    journal.put(first, store.fetch, MOST)
    killed = [ReleaseJournal(tmp_path / f"killed-{number}") for number in range(20)]
    copies = iter(killed)

    def sync(folder: Path) -> None:
        shutil.copytree(
            journal.directory, next(copies).directory, symlinks=True, ignore=shutil.ignore_patterns("wanted")
        )
        if folder.name == "trees":
            raise OSError(errno.EIO, "no disk")

    monkeypatch.setattr("remit.fleet.journal.sync_folder", sync)
    with pytest.raises(OSError, match="no disk"):
        journal.put(store.pulled(2, acme=allows("bob"), globex="", new=allows("eve")), store.fetch, MOST)
    monkeypatch.undo()

    left = [each for each in killed if each.directory.exists()]
    assert len(left) > 3
    for each in (journal, *left):
        if each is not journal:
            each.begin()
        assert first.known == each.known()
        assert files(acme=allows("ann"), globex="", gone="") == read(each)
        each.end()


def test_what_an_earlier_process_left_half_written_is_removed(journal: ReleaseJournal) -> None:
    store = Store()
    journal.put(store.pulled(1, acme=allows("ann")), store.fetch, MOST)
    (journal.directory / "releases/.new-abc/policies").mkdir(parents=True)
    journal.end()

    journal.begin()

    assert 1 == journal.known().seq
    assert ["1"] == [each.name.partition("-")[0] for each in (journal.directory / "releases").iterdir()]


def test_two_servers_never_share_a_directory(journal: ReleaseJournal) -> None:
    other = ReleaseJournal(journal.directory)

    with pytest.raises(PolicyStoreError, match="another server uses `releases`"):
        other.begin()

    journal.end()
    other.begin()
    other.end()


def test_a_directory_keeps_the_name_of_its_server(journal: ReleaseJournal, tmp_path: Path) -> None:
    name = journal.instance
    journal.end()
    journal.begin()
    assert 32 == len(name)
    assert name == journal.instance

    other = ReleaseJournal(tmp_path / "other")
    other.begin()
    other.end()
    assert name != other.instance


def test_a_directory_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(PolicyStoreError, match=r"`releases` is `.*`, which cannot be written: Not a directory"):
        ReleaseJournal(tmp_path / "file/releases").begin()


def test_any_process_can_ask_for_news(journal: ReleaseJournal) -> None:
    ReleaseJournal(journal.directory).ask_for_news()
    heard = journal.hear()
    try:
        assert ([], [], []) == select.select([heard], [], [], 0)
        for _ in range(100_000):
            ReleaseJournal(journal.directory).ask_for_news()
        assert [heard] == select.select([heard], [], [], 5)[0]
    finally:
        os.close(heard)
    ReleaseJournal(journal.directory / "none").ask_for_news()


def test_every_process_hears_of_a_change_at_once(journal: ReleaseJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("remit.fleet.journal._AGAIN_S", 3_600.0)
    stop = Event()
    heard = [ReleaseJournal(journal.directory).changes(stop) for _ in range(2)]
    for each in heard:
        # At the start, and when it hears: there may have been news in between.
        next(each), next(each)

    for _ in range(2):
        journal.tell()
        for each in heard:
            next(each)
    stop.set()

    assert [None, None] == [next(each, None) for each in heard]
    assert [] == [*journal.directory.glob("*news*")]


def test_the_pipe_of_a_killed_process_is_removed(journal: ReleaseJournal) -> None:
    heard = journal.changes(Event())
    next(heard), next(heard)
    (living,) = journal.directory.glob("news-*")
    os.mkfifo(journal.directory / "news-killed")

    journal.tell()

    assert [living] == [*journal.directory.glob("news-*")]
    next(heard)


def test_a_process_without_a_pipe_looks_every_second(journal: ReleaseJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("remit.fleet.journal._AGAIN_S", 0.001)
    monkeypatch.setattr(os, "mkfifo", lambda *_: (_ for _ in ()).throw(OSError("no pipes")))

    assert 5 == len([*islice(journal.changes(Event()), 5)])


def test_the_age_counts_from_the_last_look_that_succeeded(journal: ReleaseJournal) -> None:
    assert float("inf") == journal.age_s()

    journal.checked(StoreState("polling", "away"))
    assert float("inf") == journal.age_s()
    journal.checked(StoreState("listening", ""))
    assert journal.age_s() < 5
    os.utime(journal.directory / "checked", (time.time() - 100, time.time() - 100))
    journal.checked(StoreState("listening", "away"))

    assert 100 <= journal.age_s() < 105
    assert StoreState("listening", "away") == ReleaseJournal(journal.directory).state()


def test_the_fleet_as_it_was_last_known_is_there_for_all_processes(journal: ReleaseJournal) -> None:
    node = KnownNode("n", "x", "0.1", frozenset({1}), 2.0, False, 3, "ab", ("acme serves nothing",), "polling")
    assert [] == journal.nodes()

    journal.note_nodes([node])

    (found,) = ReleaseJournal(journal.directory).nodes()
    assert 2.0 <= found.age_s < 7
    assert node == found._replace(age_s=2.0)
