"""What a purge takes, and what it leaves so that the rest can still be proved; over SQLite and PostgreSQL."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from threading import Thread

import pytest
from contract.audit_records import decision_at, happened
from contract.test_audit_chains import rows_of
from sqlalchemy import create_engine, insert, select

from remit.audit import purge
from remit.audit.chain import DECISIONS, LIFECYCLE, ChainId, Head, genesis, link_decisions, link_lifecycle
from remit.audit.counts import HOUR_US, REVISION
from remit.audit.cutoff import Cutoffs
from remit.audit.prefix import Prefixes
from remit.audit.purge import Pace, Purged
from remit.audit.record import DecisionRecord, LifecycleRecord
from remit.audit.signing import SigningKey, Tombstone
from remit.audit.store import AuditStore
from remit.audit.tables import counts, decisions, revisions, tombstones

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
        rows += link_decisions((each for each in records if each.tenant == tenant), genesis(chain))[1]
    return rows


def follows(left: Sequence[tuple[object, ...]], tombstone: Tombstone) -> bool:
    """Whether what is left is what follows the tombstone, record by record."""
    records = [DecisionRecord._make(row[:-2]) for row in left]
    return list(left) == link_decisions(records, tombstone.head)[1]


def test_what_is_left_of_a_chain_follows_its_tombstone(store: AuditStore, url: str) -> None:
    rows = written(store, *at(*range(40)))
    assert Purged(deleted=25) == store.purge(T0 + 25, pace=Pace(rows=10))
    left = rows_of(url, ACME)
    assert rows[25:] == left
    (tombstone,) = buried(url)
    assert (("acme", "node-1"), Head(25, rows[24][-1])) == (tombstone[:2], tombstone.head)
    assert (T0 + 25, "", b"") == (tombstone.before_us, tombstone.key_id, tombstone.signature)
    assert follows(left, tombstone)


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
    assert follows(rows_of(url, ACME), tombstone)


def test_an_older_record_behind_a_newer_one_in_its_chain_stays_until_that_goes(store: AuditStore, url: str) -> None:
    """Calls commit out of the order of their times; a purge never leaves a hole."""
    rows = written(store, *at(1, 2, 50, 3, 4, 60))
    assert Purged(deleted=2, staying=2) == store.purge(T0 + 40)
    assert rows[2:] == rows_of(url, ACME)
    (event,) = store.lifecycle(type_="PURGED")
    assert (2, 2) == tuple(json.loads(event.detail)[name] for name in ("deleted", "staying"))
    assert Purged(deleted=3) == store.purge(T0 + 55)
    assert rows[5:] == rows_of(url, ACME)


def test_nothing_goes_past_a_record_that_is_missing(store: AuditStore, url: str) -> None:
    """It stays as it is for whoever verifies the chain."""
    rows = written(store, *at(*range(10)))
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(decisions.delete().where(decisions.c.seq == 4))
    engine.dispose()
    assert Purged(deleted=3, staying=6) == store.purge(T0 + 100)
    assert rows[4:] == rows_of(url, ACME)


@pytest.mark.parametrize("room", [1, 3, 1_000])
def test_a_clock_that_was_set_back_needs_no_more_memory(
    store: AuditStore, url: str, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """Ids and places in the chain run against each other; what does not fit is met again."""
    monkeypatch.setattr(purge, "Prefixes", partial(Prefixes, most_waiting=room))
    rows = written(store, *at(*range(30, 60)), *at(*range(30)), *at(100))
    assert Purged(deleted=60) == store.purge(T0 + 60, pace=Pace(rows=7))
    assert rows[60:] == rows_of(url, ACME)
    (tombstone,) = buried(url)
    assert follows(rows[60:], tombstone)


def test_each_chain_has_its_own_tombstone(store: AuditStore, url: str) -> None:
    """Of two tenants whose records lie among each other; a purge of one of them leaves the other as it was."""
    rows = written(store, *(each for n in range(30) for each in (*at(n), *at(n, tenant="globex"))))
    acme, globex = rows[:30], rows[30:]
    store.purge(T0 + 10, tenant="globex", pace=Pace(rows=4))
    assert [("globex", 10)] == [(each.tenant, each.seq) for each in buried(url)]
    assert acme == rows_of(url, ACME)
    store.purge(T0 + 20, pace=Pace(rows=4))
    assert [("acme", 20, acme[19][-1]), ("globex", 20, globex[19][-1])] == [
        (each.tenant, each.seq, each.hash) for each in buried(url)
    ]
    assert (acme[20:], globex[20:]) == (rows_of(url, ACME), rows_of(url, GLOBEX))


def test_records_from_before_there_were_chains_go_by_age_alone(store: AuditStore, url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            insert(decisions), [dict(zip(DecisionRecord._fields, each, strict=True)) for each in at(*range(20))]
        )
    engine.dispose()
    rows = written(store, *at(*range(20, 30)))
    assert Purged(deleted=15) == store.purge(T0 + 15, pace=Pace(rows=6))
    assert [] == buried(url)
    assert Purged(deleted=10) == store.purge(T0 + 25)
    assert rows[5:] == rows_of(url, ACME)
    assert [5] == [each.seq for each in buried(url)]


def test_a_purge_that_breaks_off_leaves_tombstones_that_match(store: AuditStore, url: str) -> None:
    rows = written(store, *at(*range(30)))

    def stop(deleted: int) -> None:
        if deleted >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.purge(T0 + 100, pace=Pace(rows=10), progress=stop)
    (tombstone,) = buried(url)
    assert Head(20, rows[19][-1]) == tombstone.head
    assert rows[20:] == rows_of(url, ACME)


def test_two_purges_at_once_take_everything_once(store: AuditStore, url: str) -> None:
    """By hand while the server does, or on two nodes of one database."""
    rows = written(store, *(each for n in range(150) for each in (*at(n), *at(n, tenant="globex"))))
    found: list[Purged] = []
    with AuditStore(url) as other:
        threads = [
            Thread(target=lambda each=each: found.append(each.purge(T0 + 140, pace=Pace(rows=9))))
            for each in (store, other.open())
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert 280 == sum(each.deleted for each in found)
    assert (rows[140:150], rows[290:]) == (rows_of(url, ACME), rows_of(url, GLOBEX))
    assert [140, 140] == [each.seq for each in buried(url)]


def test_a_key_signs_the_tombstones(store: AuditStore, url: str, tmp_path: Path) -> None:
    key = SigningKey.new(tmp_path / "audit.key")
    store.append([*at(1), *at(1, tenant="globex")])
    store.purge(T0 + 10, key=key)
    for tombstone in buried(url):
        assert key.public.id == tombstone.key_id
        assert key.public.made(tombstone.signature, tombstone.text)
        assert not key.public.made(tombstone.signature, tombstone._replace(seq=2).text)


def test_a_purge_is_in_the_chain_of_what_happened(store: AuditStore, url: str) -> None:
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
    assert Purged(deleted=7) == store.purge(cutoffs, by_hand=False, pace=Pace(rows=3))
    left = [(each.tenant, each.time_us - T0) for each in store.decisions(newest_first=False, limit=100)]
    expected = {"acme": range(5, 10), "globex": range(2, 10), "initech": range(10)}
    assert sorted((name, n) for name, numbers in expected.items() for n in numbers) == sorted(left)
    told = {each.tenant: json.loads(each.detail) for each in store.lifecycle(type_="PURGED")}
    others = {"before_us": T0 + 5, "tenant": None, "except": ["globex", "initech", "umbrella"], "deleted": 5}
    assert {"": others, "globex": {"before_us": T0 + 2, "tenant": "globex", "deleted": 2}} == told
    assert Purged() == store.purge(cutoffs, by_hand=False)
    assert 2 == len(store.lifecycle(type_="PURGED"))


def test_names_go_from_the_counts_and_the_numbers_stay(store: AuditStore, url: str) -> None:
    hour = T0 - T0 % HOUR_US
    records = [
        decision_at(hour + HOUR_US * n, principal=f"user:{n}", tenant=name)
        for n in range(4)
        for name in ("acme", "globex")
    ]
    store.append(records)
    store.purge(hour + HOUR_US * 2, tenant="acme", pace=Pace(rows=1))
    found = table(url, select(counts.c.tenant, counts.c.dimension, counts.c.value, counts.c.recorded))
    assert {("acme", "user:2"), ("acme", "user:3")} | {("globex", f"user:{n}") for n in range(4)} == {
        (tenant, value) for tenant, dimension, value, _ in found if dimension == "principal"
    }
    assert (4, 4) == tuple(
        sum(number for whose, dimension, _, number in found if (whose, dimension) == (name, REVISION))  # type: ignore[misc]
        for name in ("acme", "globex")
    )


def test_policies_that_nothing_names_any_more_go(store: AuditStore, url: str) -> None:
    """Not those that a record names that is left, or one behind in a chain, or that a node serves, or that are new."""
    names = ["gone", "left", "behind", "served", "checked", "new", "globex"]
    engine = create_engine(url)
    kept_us = dict.fromkeys(names, T0 - 9 * HOUR_US) | {"new": T0 + 11}
    rows = [{"revision": name, "tenant": "acme", "kept_us": kept_us[name], "archive": b"zip"} for name in names]
    rows[-1]["tenant"] = "globex"
    with engine.begin() as connection:
        connection.execute(insert(revisions), rows)
    engine.dispose()
    offsets = {"gone": -3 * HOUR_US, "left": 20, "behind": -2 * HOUR_US}
    made = [decision_at(T0 + offset, revision=name) for name, offset in offsets.items()]
    loaded = [
        happened(revision="gone"), happened(revision="served"), happened("POLICY_CHECKED", revision="checked"),
        happened("POLICY_REFUSED", revision="gone"),
    ]  # fmt: skip
    store.append(made, loaded)
    assert Purged(deleted=1, staying=1, revisions=1) == store.purge(T0 + 10, tenant="acme")
    assert sorted({*names} - {"gone"}) == sorted(name for (name,) in table(url, select(revisions.c.revision)))
    (event,) = store.lifecycle(type_="PURGED")
    assert 1 == json.loads(event.detail)["revisions"]


def test_a_policy_that_served_in_an_hour_of_which_something_is_left_stays(store: AuditStore, url: str) -> None:
    engine = create_engine(url)
    row = {"revision": "5e" * 32, "tenant": "acme", "kept_us": T0 - HOUR_US, "archive": b"zip"}
    with engine.begin() as connection:
        connection.execute(insert(revisions), row)
    engine.dispose()
    store.append(at(0))
    assert Purged(deleted=1) == store.purge(T0 + 1)
    assert Purged(revisions=1) == store.purge(T0 + 2 * HOUR_US)
