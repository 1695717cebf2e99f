import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Condition, Event, Thread

import pytest
from sqlalchemy import create_engine, make_url
from support.audit_records import decision

from remit.audit.errors import AuditStoreError
from remit.audit.record import DecisionRecord
from remit.audit.schema.migrate import upgrade
from remit.audit.store import backup
from remit.audit.store.backup import back_up, restore
from remit.audit.store.store import AuditStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.db"


@pytest.fixture
def store(path: Path) -> Iterator[AuditStore]:
    with AuditStore(f"sqlite:///{path}") as opened:
        opened.migrate()
        opened.open().append([decision() for _ in range(50)])
        yield opened


def stored(path: Path) -> list[DecisionRecord]:
    with AuditStore(f"sqlite:///{path}").open() as store:
        return store.decisions(limit=1 << 20, newest_first=False)


def beside(path: Path) -> list[str]:
    """What else is in its folder."""
    return sorted(each.name for each in path.parent.iterdir() if each != path)


def test_backup_is_one_whole_file_that_only_its_owner_reads(store: AuditStore, path: Path, tmp_path: Path) -> None:
    target = tmp_path / "kept" / "audit.backup"
    target.parent.mkdir()
    seen: list[tuple[int, int]] = []
    assert [target] == back_up(path, target, lambda *told: seen.append(told))
    assert [] == beside(target)
    assert 0o600 == stat.S_IMODE(target.stat().st_mode)
    assert seen[-1][0] == seen[-1][1] > 0
    with closing(sqlite3.connect(target)) as connection:
        assert ("delete",) == connection.execute("PRAGMA journal_mode").fetchone()
    store.append([later := decision()])
    assert later not in stored(target)
    assert stored(path)[:-1] == stored(target)


def test_backup_ends_while_others_write_and_holds_the_records_committed_before_it(
    store: AuditStore, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole transactions, none of them later ones; between any two steps there is another commit."""
    monkeypatch.setattr(backup, "_PAGES", 4)
    written: list[DecisionRecord] = []
    stop, committed = Event(), Condition()

    def write() -> None:
        while not stop.is_set():
            batch = [decision(resource_id="x" * 400) for _ in range(5)]
            store.append(batch)
            with committed:
                written.extend(batch)
                committed.notify_all()

    def until_written(count: int) -> None:
        with committed:
            assert committed.wait_for(lambda: len(written) >= count, 30)

    writer = Thread(target=write)
    writer.start()
    until_written(500)
    before = len(written)
    during: list[int] = []

    def step(*_: int) -> None:
        during.append(len(written))
        until_written(during[-1] + 5)

    back_up(path, tmp_path / "copy", step)
    stop.set()
    writer.join()
    copied = stored(tmp_path / "copy")[50:]
    assert written[: len(copied)] == copied
    assert before <= len(copied) <= during[0] + 5
    assert 0 == len(copied) % 5
    assert len(during) > 10
    with AuditStore(f"sqlite:///{tmp_path / 'copy'}").open() as opened:
        opened.append([decision()])


def test_backup_never_overwrites_a_file(store: AuditStore, path: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    target.write_text("precious")
    with pytest.raises(AuditStoreError, match="never overwrites a file"):
        back_up(path, target)

    def late(*_: int) -> None:
        (tmp_path / "other").write_text("precious")

    with pytest.raises(AuditStoreError, match="exists now, and"):
        back_up(path, tmp_path / "other", late)
    assert {"precious"} == {file.read_text() for file in (target, tmp_path / "other")}
    assert [] == [name for name in beside(path) if "partial" in name]


def test_interrupted_backup_leaves_no_file(store: AuditStore, path: Path, tmp_path: Path) -> None:
    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    before = beside(path)
    with pytest.raises(KeyboardInterrupt):
        back_up(path, tmp_path / "copy", stop)
    back_up(path, kept := tmp_path / "kept")
    with pytest.raises(KeyboardInterrupt):
        restore(kept, tmp_path / "new.db", progress=stop)
    assert sorted([*before, "kept"]) == beside(path)


@pytest.mark.parametrize("where", ["store", "backup"])
def test_damaged_file_is_refused_as_backup_and_as_store(
    store: AuditStore, path: Path, tmp_path: Path, where: str
) -> None:
    store.append([decision(resource_id="x" * 400) for _ in range(300)])
    store.close()
    back_up(path, kept := tmp_path / "kept")
    damaged = path if where == "store" else kept
    with damaged.open("r+b") as file:
        file.seek(damaged.stat().st_size // 2)
        file.write(b"\xff" * 6_000)
    with pytest.raises(AuditStoreError, match=r"is damaged|cannot (back up|restore)"):
        back_up(path, tmp_path / "again") if where == "store" else restore(kept, tmp_path / "new.db")
    assert {"again", "new.db"}.isdisjoint(beside(path))


@pytest.mark.parametrize("kind", ["empty", "text", "tables of others"])
def test_file_that_is_no_store_is_refused(path: Path, tmp_path: Path, kind: str) -> None:
    path.write_bytes(b"no database" * 100 if kind == "text" else b"")
    if kind == "tables of others":
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE other (x)")
    told = {"empty": "no audit store at", "text": "not a database", "tables of others": "has no audit store"}[kind]
    with pytest.raises(AuditStoreError, match=told):
        back_up(path, tmp_path / "copy")
    with pytest.raises(AuditStoreError, match=told):
        restore(path, tmp_path / "new.db")
    assert [] == beside(path)


def test_a_store_of_a_newer_program_is_refused(store: AuditStore, path: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(AuditStoreError, match="`9999`, unknown to this program"):
        back_up(path, tmp_path / "copy")


def test_a_store_of_an_older_schema_can_be_backed_up_before_it_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "older.db"
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        upgrade(connection, "0002")
    engine.dispose()
    back_up(path, tmp_path / "copy")
    assert [] == restore(tmp_path / "copy", tmp_path / "new.db")


def test_a_store_that_was_left_by_a_crash_is_backed_up_with_its_log(
    store: AuditStore, path: Path, tmp_path: Path
) -> None:
    """Its newest records are in the write-ahead log alone."""
    store.append([newest := decision()])
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for name in ("audit.db", "audit.db-wal"):
        shutil.copyfile(path.with_name(name), crashed / name)
    back_up(crashed / "audit.db", tmp_path / "copy")
    assert newest in stored(tmp_path / "copy")


def test_restored_store_equals_the_backup(store: AuditStore, path: Path, tmp_path: Path) -> None:
    """In a folder that is made for it, and ready to be written to."""
    back_up(path, kept := tmp_path / "kept")
    target = tmp_path / "var" / "remit" / "audit.db"
    assert [] == restore(kept, target)
    assert stored(path) == stored(target)
    with AuditStore(f"sqlite:///{target}").open() as opened:
        opened.append([decision()])
    assert 0o600 == stat.S_IMODE(target.stat().st_mode)


def test_existing_store_is_replaced_only_by_force_and_renamed(store: AuditStore, path: Path, tmp_path: Path) -> None:
    back_up(path, kept := tmp_path / "kept")
    store.append([later := decision()])
    store.close()
    with pytest.raises(AuditStoreError, match="already"):
        restore(kept, path)
    assert later in stored(path)
    (aside,) = restore(kept, path, force=True)
    assert later not in stored(path)
    assert later in stored(aside)
    assert stored(kept) == stored(path)


def test_a_store_in_use_is_not_replaced(
    store: AuditStore, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "_LOCK_S", 0.05)
    back_up(path, kept := tmp_path / "kept")
    store.append([later := decision()])
    before = beside(path)
    with pytest.raises(AuditStoreError, match="is in use"):
        restore(kept, path, force=True)
    assert before == beside(path)
    store.append([decision()])
    assert later in stored(path)


def test_log_without_its_store_is_not_used_for_a_new_store(store: AuditStore, path: Path, tmp_path: Path) -> None:
    back_up(path, kept := tmp_path / "kept")
    target = tmp_path / "new.db"
    shutil.copyfile(path.with_name("audit.db-wal"), target.with_name("new.db-wal"))
    with pytest.raises(AuditStoreError, match=r"new.db-wal` belongs to a store that does not exist"):
        restore(kept, target)
    assert not target.exists()


def workers(folder: Path, *names: str) -> dict[str, list[DecisionRecord]]:
    """Stores of workers, each with records of its own."""
    folder.mkdir(exist_ok=True)
    made: dict[str, list[DecisionRecord]] = {}
    for name in names:
        with AuditStore(f"sqlite:///{folder / name}") as each:
            each.migrate()
            each.open().append(records := [decision() for _ in range(3)])
            made[name] = records
    return made


def test_the_files_of_workers_are_one_backup(tmp_path: Path) -> None:
    """Also where none has the name itself; what is restored has their names again."""
    made = workers(tmp_path / "live", "audit.w1.db", "audit.w2.db", "other.w1.db")
    kept = tmp_path / "kept"
    kept.mkdir()
    assert [kept / "monday.w1.bak", kept / "monday.w2.bak"] == back_up(
        tmp_path / "live" / "audit.db", kept / "monday.bak"
    )
    assert [] == restore(kept / "monday.bak", tmp_path / "new" / "audit.db")
    assert ["audit.w1.db", "audit.w2.db"] == sorted(file.name for file in (tmp_path / "new").glob("*.db"))
    for name in ("audit.w1.db", "audit.w2.db"):
        assert made[name] == stored(tmp_path / "new" / name)


def test_restore_leaves_no_file_of_the_old_store(tmp_path: Path) -> None:
    """It had more workers: their files would be read beside the others."""
    live = tmp_path / "live"
    made = workers(live, "audit.w1.db")
    back_up(live / "audit.db", tmp_path / "kept")
    made |= workers(live, "audit.w2.db")
    with pytest.raises(AuditStoreError, match="already"):
        restore(tmp_path / "kept", live / "audit.db")
    aside = restore(tmp_path / "kept", live / "audit.db", force=True)
    assert ["audit.w1.db"] == sorted(file.name for file in live.glob("*.db"))
    assert [made["audit.w1.db"], made["audit.w2.db"]] == [stored(each) for each in aside]


def test_several_files_are_all_written_or_none(tmp_path: Path) -> None:
    workers(tmp_path / "live", "audit.db", "audit.w1.db")
    (tmp_path / "live" / "audit.w1.db").write_bytes(b"no database" * 100)
    with pytest.raises(AuditStoreError, match="not a database"):
        back_up(tmp_path / "live" / "audit.db", tmp_path / "kept")
    workers(tmp_path / "live2", "audit.db", "audit.w1.db")
    (tmp_path / "kept.w1").write_text("precious")
    with pytest.raises(AuditStoreError, match="never overwrites a file"):
        back_up(tmp_path / "live2" / "audit.db", tmp_path / "kept")
    assert ["kept.w1", "live", "live2"] == sorted(each.name for each in tmp_path.iterdir())


def test_missing_or_full_folder_is_reported(store: AuditStore, path: Path, tmp_path: Path) -> None:
    with pytest.raises(AuditStoreError, match=r"cannot write to the folder `.*nowhere`"):
        back_up(path, tmp_path / "nowhere" / "copy")
    with pytest.raises(AuditStoreError, match="no audit store at"):
        back_up(tmp_path / "nothing.db", tmp_path / "copy")


def test_the_url_of_a_store_names_its_file(store: AuditStore, path: Path) -> None:
    assert path == store.file
    assert str(path) == make_url(store.url).database
    assert os.fspath(path) in store.url
