"""Kept revisions, and what served when, over SQLite and PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from support.audit_records import decision_at

from remit.audit.errors import RecordRefused
from remit.audit.query.revision_history import ServedRevision
from remit.audit.record import ArchivedRevision, LifecycleRecord
from remit.audit.store.store import AuditStore

T0 = 1_800_000_000_000_000
MINUTE_US = 60_000_000
FIRST, SECOND, THIRD = "1f" * 32, "2e" * 32, "3d" * 32
SERVERS = {"SERVER_STARTED", "SERVER_STOPPED"}


def happen(store: AuditStore, minute: int, type_: str, revision: str = "", node: str = "node-1") -> None:
    time_us = T0 + minute * MINUTE_US
    tenant = "" if type_ in SERVERS else "acme"
    record = LifecycleRecord(decision_at(time_us).id, time_us, node, type_, tenant, revision, "{}")
    store.append([], [record])


def test_stored_revision_stays_as_first_written(store: AuditStore) -> None:
    content = bytes(range(256)) * 100
    store.append([], revisions=[ArchivedRevision("acme", FIRST, T0, content)])
    store.append([], revisions=[ArchivedRevision("acme", FIRST, T0 + 1, b"another")])
    store.append([], revisions=[ArchivedRevision("acme", SECOND, T0, b"")])
    assert content == store.revision("acme", FIRST, 1_000_000)
    assert b"" == store.revision("acme", SECOND, 0)
    assert store.revision("acme", THIRD, 1_000_000) is None


def test_revision_is_read_within_limits_and_for_its_tenant_only(store: AuditStore) -> None:
    store.append([], revisions=[ArchivedRevision("acme", FIRST, T0, bytes(1_000))])
    assert store.revision("acme", FIRST, 999) is None
    assert store.revision("globex", FIRST, 1_000) is None
    assert bytes(1_000) == store.revision("acme", FIRST, 1_000)


def test_the_files_of_a_revision_are_stored_with_its_record_or_not_at_all(store: AuditStore) -> None:
    record = LifecycleRecord(decision_at(T0).id, T0, "node-1", "POLICY_LOADED", "acme", FIRST, "{}")
    twice = [ArchivedRevision("acme", FIRST, T0, b"zip"), ArchivedRevision("acme", FIRST, T0 + 1, b"zip")]
    store.append([], [record], revisions=twice)
    with pytest.raises(RecordRefused):
        store.append([], [record], revisions=[ArchivedRevision("acme", SECOND, T0, b"zip")])

    assert [record] == store.lifecycle()
    assert b"zip" == store.revision("acme", FIRST, 1_000)
    assert store.revision("acme", SECOND, 1_000) is None


def test_several_processes_may_store_the_same_revision(url: str) -> None:
    with AuditStore(url) as store:
        store.migrate()

    def keep(number: int) -> None:
        with AuditStore(url).open() as each:
            each.append([], revisions=[ArchivedRevision("acme", FIRST, T0 + number, bytes(50_000))])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(keep, range(8)))
    with AuditStore(url).open() as store:
        assert bytes(50_000) == store.revision("acme", FIRST, 50_000)


def test_served_revision_is_the_one_last_recorded(store: AuditStore) -> None:
    happen(store, -1, "SERVER_STARTED")
    happen(store, 0, "POLICY_LOADED", FIRST)
    happen(store, 10, "POLICY_REFUSED", THIRD)
    happen(store, 20, "POLICY_LOADED", SECOND)
    happen(store, 30, "POLICY_PINNED", FIRST)
    happen(store, 35, "POLICY_CHECKED", THIRD)
    happen(store, 40, "POLICY_UNPINNED", FIRST)
    happen(store, 50, "POLICY_RESTORED", SECOND)
    happen(store, 60, "POLICY_REMOVED", SECOND)
    expected = {
        -1: [],
        0: [(FIRST, 0)],
        19: [(FIRST, 0)],
        20: [(SECOND, 20)],
        36: [(FIRST, 30)],
        45: [(FIRST, 30)],
        55: [(SECOND, 50)],
        99: [("", 60)],
    }
    for minute, served in expected.items():
        found = store.serving("acme", T0 + minute * MINUTE_US)
        assert [ServedRevision("node-1", revision, T0 + since * MINUTE_US) for revision, since in served] == found, (
            minute
        )
    assert [] == store.serving("globex", T0 + 99 * MINUTE_US)


def test_each_node_has_its_own_revision_until_it_stops(store: AuditStore) -> None:
    for minute, node in enumerate(("node-1", "node-2", "node-3")):
        happen(store, minute, "POLICY_LOADED", FIRST, node)
    happen(store, 10, "POLICY_LOADED", SECOND, "node-2")
    happen(store, 20, "SERVER_STOPPED", node="node-3")
    happen(store, 30, "SERVER_STARTED", node="node-1")
    happen(store, 40, "POLICY_LOADED", THIRD, "node-1")

    def served(minute: int, node: str | None = None) -> list[tuple[str, str]]:
        return [(each.node, each.revision) for each in store.serving("acme", T0 + minute * MINUTE_US, node)]

    assert [("node-2", SECOND), ("node-3", FIRST), ("node-1", FIRST)] == served(15)
    assert [("node-2", SECOND), ("node-1", FIRST)] == served(25)
    # Started again, and its policies not loaded yet.
    assert [("node-2", SECOND)] == served(35)
    assert [("node-1", THIRD), ("node-2", SECOND)] == served(45)
    assert [("node-2", SECOND)] == served(45, "node-2")
    assert [] == served(45, "node-3")
    assert [] == served(45, "node-9")
