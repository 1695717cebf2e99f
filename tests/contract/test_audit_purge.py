"""What a purge takes, and what it leaves so that the rest can still be proved; over SQLite and PostgreSQL."""

import json
import time
from functools import partial
from pathlib import Path
from threading import Thread

import pytest
from contract.test_audit_chains import rows_of
from sqlalchemy import create_engine, insert, select
from support.audit_records import decision_at, happened, linked

from remit.audit.chain.chain import DECISIONS, LIFECYCLE, READS, ChainId, Head, genesis, link_lifecycle
from remit.audit.chain.signing import PublicKey, SigningKey, Tombstone
from remit.audit.checkpoint.checkpointer import Checkpointer
from remit.audit.export.export import Export
from remit.audit.export.verify import find_export, verify_export
from remit.audit.ids import DecisionIds
from remit.audit.query.filter import DecisionFilter
from remit.audit.record import AUDIT_READ, ArchivedRevision, DecisionRecord, LifecycleRecord
from remit.audit.retention import purge
from remit.audit.retention.cutoffs import Cutoffs
from remit.audit.retention.purge import Purged, PurgePacing
from remit.audit.retention.resequencer import Resequencer
from remit.audit.schema.tables import (
    HOUR_US,
    REVISION,
    checkpoints,
    counts,
    decisions,
    lifecycle,
    revisions,
    tombstones,
)
from remit.audit.store.store import AuditStore
from remit.audit.verify.store import verify_store

T0 = 1_700_000_000_000_000
ACME = ChainId(DECISIONS, "acme", "node-1")
GLOBEX = ChainId(DECISIONS, "globex", "node-1")


def table(url: str, statement: object) -> list[tuple[object, ...]]:
    engine = create_engine(url)
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(statement)]  # type: ignore[call-overload]
    engine.dispose()
    return found


def buried(url: str) -> list[Tombstone]:
    return [Tombstone._make(row) for row in table(url, select(tombstones).order_by(tombstones.c.tenant))]


def at(*offsets: int, tenant: str = "acme") -> list[DecisionRecord]:
    return [decision_at(T0 + offset, tenant=tenant) for offset in offsets]


def written(store: AuditStore, *records: DecisionRecord, batch: int = 7) -> list[tuple[object, ...]]:
    """Writes records in this order, and gives the rows that their chains (of one node) then have."""
    for start in range(0, len(records), batch):
        store.append(records[start : start + batch])
    rows: list[tuple[object, ...]] = []
    for tenant in sorted({each.tenant for each in records}):
        chain = ChainId(DECISIONS, tenant, "node-1")
        rows += linked((each for each in records if each.tenant == tenant), genesis(chain))[1]
    return rows


def verified(store: AuditStore, *keys: PublicKey) -> bool:
    """Whether what is left of every chain follows from what the store says of it, counts included."""
    with store.snapshot() as snapshot:
        return verify_store([snapshot], keys=keys, counts=True).findings == []


def test_rest_of_a_chain_follows_its_tombstone(store: AuditStore, url: str) -> None:
    rows = written(store, *at(*range(40)))
    assert Purged(deleted=25) == store.purge(T0 + 25, pacing=PurgePacing(rows=10))
    left = rows_of(url, ACME)
    assert rows[25:] == left
    (tombstone,) = buried(url)
    assert (("acme", "node-1"), Head(25, rows[24][-1])) == (tombstone[:2], tombstone.head)
    assert (T0 + 25, "", b"") == (tombstone.before_us, tombstone.key_id, tombstone.signature)
    assert verified(store)


def test_a_later_purge_moves_the_tombstone(store: AuditStore, url: str) -> None:
    rows = written(store, *at(*range(20)))
    store.purge(T0 + 5)
    store.purge(T0 + 12)
    (tombstone,) = buried(url)
    assert Head(12, rows[11][-1]) == tombstone.head
    store.purge(T0 + 7)
    assert [tombstone] == buried(url)
    store.append(at(100))
    store.purge(T0 + 50)
    (tombstone,) = buried(url)
    assert (20, 21) == (tombstone.seq, rows_of(url, ACME)[0][-2])
    assert verified(store)


def test_older_record_after_a_newer_one_stays_until_the_newer_one_is_deleted(store: AuditStore, url: str) -> None:
    """Calls commit out of the order of their times; a purge never leaves a hole."""
    rows = written(store, *at(1, 2, 50, 3, 4, 60))
    assert Purged(deleted=2, staying=2) == store.purge(T0 + 40)
    assert rows[2:] == rows_of(url, ACME)
    assert verified(store)
    (event,) = store.lifecycle(type_="PURGED")
    assert (2, 2) == tuple(json.loads(event.detail)[name] for name in ("deleted", "staying"))
    assert Purged(deleted=3) == store.purge(T0 + 55)
    assert rows[5:] == rows_of(url, ACME)
    assert verified(store)


def test_purge_stops_at_a_missing_record(store: AuditStore, url: str) -> None:
    """So verify still finds the gap."""
    rows = written(store, *at(*range(10)))
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(decisions.delete().where(decisions.c.seq == 4))
    engine.dispose()
    assert Purged(deleted=3, staying=6) == store.purge(T0 + 100)
    assert rows[4:] == rows_of(url, ACME)
    assert not verified(store)


@pytest.mark.parametrize("room", [1, 3, 1_000])
def test_purge_needs_no_more_memory_after_a_clock_was_set_back(
    store: AuditStore, url: str, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """Ids and places in the chain run against each other; what does not fit is met again."""
    monkeypatch.setattr(purge, "Resequencer", partial(Resequencer, most_waiting=room))
    rows = written(store, *at(*range(30, 60)), *at(*range(30)), *at(100))
    assert Purged(deleted=60) == store.purge(T0 + 60, pacing=PurgePacing(rows=7))
    assert rows[60:] == rows_of(url, ACME)
    assert [60] == [each.seq for each in buried(url)]
    assert verified(store)


def test_each_chain_has_its_own_tombstone(store: AuditStore, url: str) -> None:
    """Of two tenants whose records lie among each other; a purge of one of them leaves the other as it was."""
    rows = written(store, *(each for n in range(30) for each in (*at(n), *at(n, tenant="globex"))))
    acme, globex = rows[:30], rows[30:]
    store.purge(T0 + 10, tenant="globex", pacing=PurgePacing(rows=4))
    assert [("globex", 10)] == [(each.tenant, each.seq) for each in buried(url)]
    assert acme == rows_of(url, ACME)
    store.purge(T0 + 20, pacing=PurgePacing(rows=4))
    assert [("acme", 20, acme[19][-1]), ("globex", 20, globex[19][-1])] == [
        (each.tenant, each.seq, each.hash) for each in buried(url)
    ]
    assert (acme[20:], globex[20:]) == (rows_of(url, ACME), rows_of(url, GLOBEX))


def test_records_older_than_the_chains_are_purged_by_age(store: AuditStore, url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            insert(decisions), [dict(zip(DecisionRecord._fields, each, strict=True)) for each in at(*range(20))]
        )
    engine.dispose()
    rows = written(store, *at(*range(20, 30)))
    assert Purged(deleted=15) == store.purge(T0 + 15, pacing=PurgePacing(rows=6))
    assert [] == buried(url)
    assert Purged(deleted=10) == store.purge(T0 + 25)
    assert rows[5:] == rows_of(url, ACME)
    assert [5] == [each.seq for each in buried(url)]


def test_interrupted_purge_leaves_matching_tombstones(store: AuditStore, url: str) -> None:
    rows = written(store, *at(*range(30)))

    def stop(deleted: int) -> None:
        if deleted >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.purge(T0 + 100, pacing=PurgePacing(rows=10), progress=stop)
    (tombstone,) = buried(url)
    assert Head(20, rows[19][-1]) == tombstone.head
    assert rows[20:] == rows_of(url, ACME)
    assert verified(store)


def test_two_purges_at_once_take_everything_once(store: AuditStore, url: str) -> None:
    """By hand while the server does, or on two nodes of one database."""
    rows = written(store, *(each for n in range(150) for each in (*at(n), *at(n, tenant="globex"))))
    found: list[Purged] = []
    with AuditStore(url) as other:
        threads = [
            Thread(target=lambda each=each: found.append(each.purge(T0 + 140, pacing=PurgePacing(rows=9))))
            for each in (store, other.open())
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert 280 == sum(each.deleted for each in found)
    assert (rows[140:150], rows[290:]) == (rows_of(url, ACME), rows_of(url, GLOBEX))
    assert [140, 140] == [each.seq for each in buried(url)]
    assert verified(store)


def test_a_key_signs_the_tombstones(store: AuditStore, url: str, tmp_path: Path) -> None:
    key = SigningKey.new(tmp_path / "audit.key")
    store.append([*at(1), *at(1, tenant="globex")])
    store.purge(T0 + 10, key=key)
    for tombstone in buried(url):
        assert key.public.id == tombstone.key_id
        assert key.public.made(tombstone.signature, tombstone.text)
        assert not key.public.made(tombstone.signature, tombstone._replace(seq=2).text)


def test_purge_deletes_checkpoints_of_deleted_records(store: AuditStore, url: str, tmp_path: Path) -> None:
    """What was signed of what is left still holds, and so does that each names the one before."""
    key = SigningKey.new(tmp_path / "audit.key")
    for offset in (0, 10, 20, 30):
        store.append([*at(*range(offset, offset + 10)), *at(offset, tenant="globex")])
        Checkpointer(store, key, "node-1", 1, lambda offset=offset: T0 + offset)._sign()
    store.purge(T0 + 20, tenant="acme", key=key)
    columns = (checkpoints.c.tenant, checkpoints.c.seq)
    left = sorted(table(url, select(*columns).where(checkpoints.c.of_table == DECISIONS)))
    assert [("acme", 20), ("acme", 30), ("acme", 40), *(("globex", seq) for seq in (1, 2, 3, 4))] == left
    assert verified(store, key.public)
    store.purge(T0 + 25, tenant="acme", key=key)
    assert verified(store, key.public)
    store.purge(T0 + 26, tenant="acme")
    assert not verified(store, key.public)


def test_purge_is_recorded_in_the_lifecycle_chain(store: AuditStore, url: str) -> None:
    store.append(at(*range(5)), [before := happened(node="node-9")])
    store.purge(T0 + 3, tenant="acme", node="node-9")
    store.append([], [after := happened(node="node-9")])
    chain = ChainId(LIFECYCLE, "acme", "node-9")
    rows = rows_of(url, chain)
    records = [LifecycleRecord._make(row[:-2]) for row in rows]
    assert ["POLICY_LOADED", "PURGE_STARTED", "PURGED", "POLICY_LOADED"] == [each.type for each in records]
    assert (before, after) == (records[0], records[-1])
    assert rows == link_lifecycle(records, genesis(chain))[1]


def test_each_tenant_may_have_a_cutoff_of_its_own(store: AuditStore) -> None:
    """Each that something was taken by is recorded apart, and by whom it was not is only where that was asked."""
    everyone = [each for n in range(10) for name in ("acme", "globex", "initech") for each in at(n, tenant=name)]
    store.append(everyone)
    cutoffs = Cutoffs(others=T0 + 5, of_tenant={"globex": T0 + 2, "initech": None, "umbrella": T0 + 9})
    assert Purged(deleted=7) == store.purge(cutoffs, by_hand=False, pacing=PurgePacing(rows=3))
    left = [(each.tenant, each.time_us - T0) for each in store.decisions(newest_first=False, limit=100)]
    expected = {"acme": range(5, 10), "globex": range(2, 10), "initech": range(10)}
    assert sorted((name, n) for name, numbers in expected.items() for n in numbers) == sorted(left)
    told = {each.tenant: json.loads(each.detail) for each in store.lifecycle(type_="PURGED")}
    others = {"before_us": T0 + 5, "tenant": None, "except": ["globex", "initech", "umbrella"], "deleted": 5}
    assert {"": others, "globex": {"before_us": T0 + 2, "tenant": "globex", "deleted": 2}} == told
    assert Purged() == store.purge(cutoffs, by_hand=False)
    assert 2 == len(store.lifecycle(type_="PURGED"))


def test_purge_removes_names_from_counts_and_keeps_totals(store: AuditStore, url: str) -> None:
    hour = T0 - T0 % HOUR_US
    records = [
        decision_at(hour + HOUR_US * n, principal=f"user:{n}", tenant=name)
        for n in range(4)
        for name in ("acme", "globex")
    ]
    store.append(records)
    store.purge(hour + HOUR_US * 2, tenant="acme", pacing=PurgePacing(rows=1))
    found = table(url, select(counts.c.tenant, counts.c.dimension, counts.c.value, counts.c.recorded))
    assert {("acme", "user:2"), ("acme", "user:3")} | {("globex", f"user:{n}") for n in range(4)} == {
        (tenant, value) for tenant, dimension, value, _ in found if dimension == "principal"
    }
    assert (4, 4) == tuple(
        sum(number for whose, dimension, _, number in found if (whose, dimension) == (name, REVISION))  # type: ignore[misc]
        for name in ("acme", "globex")
    )


def test_remaining_records_keep_the_counts_of_their_hour(store: AuditStore, url: str) -> None:
    """So that counts and records still add up, as `verify --counts` finds."""
    hour = T0 - T0 % HOUR_US
    offsets = (0, 9 * HOUR_US, 2 * HOUR_US, 3 * HOUR_US, 10 * HOUR_US)
    store.append([decision_at(hour + offset) for offset in offsets])
    assert Purged(deleted=1, staying=2) == store.purge(hour + 5 * HOUR_US)
    hours = {
        (row[0] - hour) // HOUR_US
        for row in table(url, select(counts.c.hour_us).where(counts.c.dimension == "principal"))
    }
    assert {2, 3, 9, 10} == hours
    assert verified(store)
    left = sorted(hour + offset for offset in offsets[1:])
    for where in ({"principal": "user:ada"}, {"namespace": "prod"}, {"caller": "anonymous"}, {"effect": "allow"}):
        found = store.decisions(DecisionFilter(tenant="acme", **where), newest_first=False)
        assert left == [each.time_us for each in found], where


def happened_at(offset: int, type_: str, revision: str, node: str = "node-1") -> LifecycleRecord:
    (id_,) = DecisionIds(lambda: (T0 + offset) * 1_000).take(1)
    return happened(type_, id=id_, time_us=T0 + offset, revision=revision, node=node)


def test_policies_that_no_record_names_are_deleted(store: AuditStore, url: str) -> None:
    """Not those that a record names that is left, or one behind in a chain; nor those that a node served at a time that
    is left, or serves; nor those that are new."""
    names = ["gone", "left", "behind", "lasting", "served", "checked", "elsewhere", "globex"]
    for name in names:
        tenant = "globex" if name == "globex" else "acme"
        store.append([], revisions=[ArchivedRevision(tenant, name, T0 - 9 * HOUR_US, b"zip")])
    store.append([], revisions=[ArchivedRevision("acme", "new", time.time_ns() // 1_000, b"zip")])
    offsets = {"gone": -3 * HOUR_US, "left": 20, "behind": -2 * HOUR_US}
    made = [decision_at(T0 + offset, revision=name) for name, offset in offsets.items()]
    loaded = [
        happened_at(-9 * HOUR_US, "POLICY_LOADED", "gone"),
        happened_at(-8 * HOUR_US, "POLICY_PINNED", "lasting"),
        happened_at(-7 * HOUR_US, "POLICY_CHECKED", "checked"),
        happened_at(15, "POLICY_UNPINNED", "lasting"),
        happened_at(15, "POLICY_LOADED", "served"),
        happened_at(16, "POLICY_REFUSED", "gone"),
        happened_at(-6 * HOUR_US, "POLICY_LOADED", "elsewhere", "node-2"),
    ]
    store.append(made, loaded)
    assert Purged(deleted=1, staying=1, revisions=1) == store.purge(T0 + 10, tenant="acme")
    assert sorted({*names, "new"} - {"gone"}) == sorted(name for (name,) in table(url, select(revisions.c.revision)))
    (event,) = store.lifecycle(type_="PURGED")
    assert 1 == json.loads(event.detail)["revisions"]
    store.append([], [happened_at(30, "POLICY_REMOVED", "elsewhere", "node-2")])
    assert Purged(deleted=2, revisions=3) == store.purge(T0 + 2 * HOUR_US, tenant="acme")
    assert ["checked", "globex", "lasting", "new", "served"] == sorted(
        name for (name,) in table(url, select(revisions.c.revision))
    )


def test_policy_archived_again_stays_until_a_record_names_it(store: AuditStore, url: str) -> None:
    """It is about to serve."""
    store.append([], revisions=[ArchivedRevision("acme", "again", T0, b"zip")])
    store.append([], revisions=[ArchivedRevision("acme", "again", time.time_ns() // 1_000, b"zip")])
    assert Purged() == store.purge(T0 + 5 * HOUR_US)
    assert [("again", b"zip")] == table(url, select(revisions.c.revision, revisions.c.archive))


def test_policy_that_served_in_an_hour_with_remaining_counts_stays(store: AuditStore, url: str) -> None:
    store.append([], revisions=[ArchivedRevision("acme", "5e" * 32, T0 - HOUR_US, b"zip")])
    store.append(at(0))
    assert Purged(deleted=1) == store.purge(T0 + 1)
    assert Purged(revisions=1) == store.purge(T0 + 2 * HOUR_US)


def read_at(time_us: int, tenant: str = "acme") -> LifecycleRecord:
    """Somebody read the audit at that time."""
    (id_,) = DecisionIds(lambda: time_us * 1_000).take(1)
    return LifecycleRecord(id_, time_us, f"node-1{READS}", AUDIT_READ, tenant, "", '{"caller":"web"}')


def test_purge_deletes_records_of_reads_with_the_decisions(store: AuditStore, url: str, tmp_path: Path) -> None:
    """They are in chains of their own, which still verify; all other lifecycle records stay."""
    key = SigningKey.new(tmp_path / "audit.key")
    for n in range(0, 30, 3):
        reads = [read_at(T0 + n + each, tenant) for each in range(3) for tenant in ("acme", "globex", "")]
        store.append(at(n), [*reads, happened(tenant="acme")])
    Checkpointer(store, key, "node-1", 1, lambda: T0 + 30)._sign()
    assert Purged(deleted=5, reads=14) == store.purge(T0 + 14, tenant="acme", key=key, pacing=PurgePacing(rows=4))
    assert Purged(deleted=2, reads=7 + 2 * 21) == store.purge(T0 + 21, key=key, pacing=PurgePacing(rows=4))
    left = store.lifecycle(type_=AUDIT_READ, limit=1_000)
    assert {"acme": 9, "globex": 9, "": 9} == {
        name: [each.tenant for each in left].count(name) for name in ("acme", "globex", "")
    }
    assert 10 == len(store.lifecycle(type_="POLICY_LOADED", limit=1_000))
    assert [("", 21), ("acme", 21), ("globex", 21)] == [
        (each.tenant, each.seq) for each in buried(url) if each.node.endswith(READS)
    ]
    assert [14, 7 + 2 * 21] == [
        json.loads(each.detail)["reads"] for each in store.lifecycle(type_="PURGED", newest_first=False)
    ]
    assert verified(store, key.public)
    store.append([], [read_at(T0 + 40)])
    assert verified(store)
    store.purge(T0 + 100, key=key)
    assert ([], True) == (store.lifecycle(type_=AUDIT_READ), verified(store, key.public))
    store.append([], [read_at(T0 + 200)])
    assert verified(store)


def test_deleted_record_of_a_read_is_found(store: AuditStore, url: str) -> None:
    store.append([], [read_at(T0 + n) for n in range(10)])
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(lifecycle.delete().where(lifecycle.c.seq == 4))
    engine.dispose()
    assert Purged(reads=3, staying=6) == store.purge(T0 + 100)
    assert not verified(store)


def test_reads_recorded_by_an_earlier_version_stay(store: AuditStore) -> None:
    old = read_at(T0)._replace(node="node-1")
    store.append([], [old, happened()])
    assert Purged() == store.purge(T0 + 100)
    assert ([old], True) == (store.lifecycle(type_=AUDIT_READ), verified(store))


def test_export_proves_the_remaining_records_of_reads(store: AuditStore, tmp_path: Path) -> None:
    """After their tombstone, beside a chain of decisions with another tombstone."""
    key = SigningKey.new(tmp_path / "audit.key")
    store.append(at(*range(6)), [*(read_at(T0 + n) for n in range(8)), happened()])
    Checkpointer(store, key, "node-1", 1, lambda: T0 + 30)._sign()
    store.purge(T0 + 4, key=key)
    out = tmp_path / "acme.jsonl"
    with store.snapshot() as snapshot:
        made = Export(snapshots=[snapshot], tenant="acme", out=out, format_="jsonl").run()
    found = verify_export(find_export(out), keys=[key.public], at_us=T0)
    assert [] == made.findings + found.findings
    assert {(DECISIONS, "node-1"): 4, (LIFECYCLE, f"node-1{READS}"): 4, (LIFECYCLE, "node-1"): 0} == {
        (each.chain.table, each.chain.node): each.after for each in found.chains
    }
