"""What holds for the audit store on SQLite alone."""

import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.audit_plans import plan_of_page
from support.audit_records import decision, decision_at, happened

from remit.audit.errors import AuditStoreError
from remit.audit.query.filter import DecisionFilter
from remit.audit.record import DecisionRecord
from remit.audit.retention.purge import PurgePacing
from remit.audit.schema import engines
from remit.audit.store.store import AuditStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.db"


@pytest.fixture
def store(path: Path) -> Iterator[AuditStore]:
    with AuditStore(f"sqlite:///{path}") as opened:
        opened.migrate()
        yield opened.open()


@pytest.mark.parametrize(
    ("weaker", "reported"),
    [
        ({"journal_mode": "DELETE", "synchronous": "FULL"}, "journal_mode `delete`"),
        ({"journal_mode": "WAL", "synchronous": "NORMAL"}, "synchronous `1`"),
        ({"journal_mode": "WAL", "synchronous": "OFF"}, "synchronous `0`"),
    ],
)
def test_a_connection_that_is_not_durable_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, weaker: dict[str, str], reported: str
) -> None:
    monkeypatch.setattr(engines, "_DURABILITY", weaker)
    with AuditStore(f"sqlite:///{path}") as store, pytest.raises(AuditStoreError, match=reported):
        store.migrate()


def test_every_commit_is_durable_for_every_connection_in_use(store: AuditStore) -> None:
    """As the connections report, also the writer's long-lived one."""
    store.append([decision()])
    assert store._writer is not None
    cursor = store._writer._cursor
    modes = [cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert modes == ["wal", 2]


def test_new_file_is_readable_by_its_owner_only(path: Path) -> None:
    before = os.umask(0)
    try:
        with AuditStore(f"sqlite:///{path}") as store:
            assert store.is_new()
            store.migrate()
            assert not store.is_new()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_asking_for_a_file_that_does_not_exist_creates_none(path: Path) -> None:
    with AuditStore(f"sqlite:///{path}") as store, pytest.raises(AuditStoreError, match="does not exist"):
        store.open()
    assert not path.exists()


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_text("not a database, and long enough to be looked at as one" * 20)
    with AuditStore(f"sqlite:///{path}") as store, pytest.raises(AuditStoreError, match="not a database"):
        store.open()


def test_missing_folders_are_created_for_a_new_file(tmp_path: Path) -> None:
    with AuditStore(f"sqlite:///{tmp_path / 'var' / 'remit' / 'audit.db'}") as store:
        store.migrate()
        store.open().append([record := decision()])
        assert [record] == store.decisions()


def test_folder_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    url = f"sqlite:///{tmp_path / 'taken' / 'audit.db'}"
    with AuditStore(url) as store, pytest.raises(AuditStoreError, match="taken"):
        store.migrate()


def test_full_file_refuses_whole_batches_until_there_is_room(path: Path) -> None:
    with AuditStore(f"sqlite:///{path}", max_bytes=300_000) as store:
        store.migrate()
        kept = [decision_at(1_000_000 + n * 1_000) for n in range(100)]
        store.append(kept)
        large = [decision(trace_id="x" * 4_000) for _ in range(100)]
        for _ in range(3):
            with pytest.raises(AuditStoreError, match="full"):
                store.append(large, [happened()])
        assert kept == store.decisions(newest_first=False)
        assert store.lifecycle() == []
        store.append([small := decision()])
        assert small == store.decision(small.id)
        free = store.free_bytes()
        assert free is not None
        assert free < 300_000
        assert path.stat().st_size <= 300_000


def test_a_purge_makes_room(path: Path) -> None:
    with AuditStore(f"sqlite:///{path}", max_bytes=600_000) as store:
        store.migrate()
        store.append([decision_at(1_000_000 + n, trace_id="x" * 400) for n in range(400)])
        before = store.free_bytes()
        assert store.purge(2_000_000, pacing=PurgePacing(rows=50)).deleted == 400
        after = store.free_bytes()
        assert before is not None
        assert after is not None
        assert after > before + 150_000
        size = store.size_bytes()
        store.append([decision(trace_id="x" * 400) for _ in range(100)])
        assert path.stat().st_size <= size


def test_without_a_cap_the_disk_is_the_limit(store: AuditStore, path: Path) -> None:
    disk = os.statvfs(path.parent)
    free = store.free_bytes()
    assert free is not None
    assert 0.5 < free / (disk.f_bavail * disk.f_frsize) < 2


def test_a_writer_waits_for_another_program_s_transaction(path: Path) -> None:
    """Up to the timeout, and says so past it."""
    with AuditStore(f"sqlite:///{path}", busy_timeout_s=0.05) as store:
        store.migrate()
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(AuditStoreError, match="locked"):
            store.append([decision()])
        assert store.decisions() == []
        other.execute("ROLLBACK")
        other.close()
        store.append([record := decision()])
        assert [record] == store.decisions()


FILTERS = [
    DecisionFilter(tenant="acme"),
    DecisionFilter(tenant="acme", namespace="prod"),
    DecisionFilter(tenant="acme", principal="user:ada"),
    DecisionFilter(tenant="acme", principal="user:ada", namespace="prod.etl", effect="deny"),
    DecisionFilter(tenant="acme", effect="deny", since_us=1_000_010_000, until_us=1_000_090_000),
    DecisionFilter(tenant="nobody"),
]


@pytest.fixture
def records(store: AuditStore) -> list[DecisionRecord]:
    made = [
        decision_at(
            1_000_000_000 + n * 1_000,
            tenant=("acme", "globex")[n % 2],
            principal=("user:ada", "user:bob", "user:eve")[n % 3],
            namespace=("prod", "prod.etl", "prod2", "test")[n // 6 % 4],
            effect=("allow", "deny")[n // 24 % 2],
        )
        for n in range(96)
    ]
    store.append(made)
    return made


@pytest.mark.parametrize("where", FILTERS, ids=range(len(FILTERS)))
@pytest.mark.parametrize("newest_first", [True, False])
def test_a_page_is_what_a_scan_of_all_records_finds(
    store: AuditStore, records: list[DecisionRecord], where: DecisionFilter, *, newest_first: bool
) -> None:
    after = records[48].id
    asked = {"tenant": where.tenant, "principal": where.principal, "effect": where.effect}
    found = [
        each
        for each in records
        if all(value in {None, getattr(each, name)} for name, value in asked.items())
        and (where.namespace is None or f"{each.namespace}.".startswith(f"{where.namespace}."))
        and (where.since_us or 0) <= each.time_us < (where.until_us or 2**62)
        and (each.id < after if newest_first else each.id > after)
    ]

    assert sorted(found, reverse=newest_first) == store.decisions(where, after=after, newest_first=newest_first)
    assert (where.tenant == "nobody") == (found == [])


@pytest.mark.parametrize(
    ("where", "index"),
    [
        (DecisionFilter(tenant="acme"), None),
        (DecisionFilter(tenant="acme", namespace="prod"), None),
        (DecisionFilter(tenant="acme", principal="user:ada"), "USING INDEX decisions_by_principal"),
        (
            DecisionFilter(tenant="acme", principal="user:ada", namespace="prod"),
            "USING COVERING INDEX decisions_by_principal",
        ),
        (
            DecisionFilter(tenant="acme", principal="user:ada", effect="deny", reason="NOT_GRANTED"),
            "USING COVERING INDEX decisions_by_principal",
        ),
        (DecisionFilter(), None),
    ],
    ids=range(6),
)
def test_page_query_needs_no_sort(
    store: AuditStore,
    records: list[DecisionRecord],
    where: DecisionFilter,
    index: str | None,
) -> None:
    plan = " ".join(plan_of_page(store, where))
    assert "TEMP B-TREE" not in plan
    assert "decisions_by_principal" not in plan if index is None else index in plan
