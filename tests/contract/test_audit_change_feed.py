"""Following, over SQLite and PostgreSQL: each record once and none left out, in whatever order they are committed."""

from collections.abc import Callable
from random import Random
from threading import Event, Thread

import pytest
from sqlalchemy import create_engine, delete, update
from support.audit_records import decision, decision_at

from remit.audit.query.change_feed import ChangeFeed, Cursor
from remit.audit.query.filter import DecisionFilter
from remit.audit.record import DecisionRecord
from remit.audit.schema.tables import chains, decisions
from remit.audit.store.store import AuditStore

EVERYTHING = DecisionFilter()
HOUR_US = 3_600_000_000


def drained(follow: ChangeFeed, limit: int = 10) -> list[DecisionRecord]:
    """What there is now."""
    found = list[DecisionRecord]()
    while True:
        found += (more := follow.more(limit))
        if not more and not follow.is_behind:
            return found


def test_change_feed_includes_records_that_are_committed_late(store: AuditStore) -> None:
    """By a moment, by an hour, and by a week; and what came before is not given."""
    now = decision().time_us
    store.append([decision(), decision(tenant="globex")])
    follow = ChangeFeed.begin(store, EVERYTHING)
    for late_us in (0, 1_000_000, HOUR_US, 7 * 24 * HOUR_US, 1_000):
        made = [decision_at(now - late_us, tenant=tenant) for tenant in ("acme", "globex", "hooli")]
        store.append(made)
        assert sorted(made) == sorted(drained(follow)), late_us
        assert [] == drained(follow)


def test_a_filter_leaves_out_the_others(store: AuditStore) -> None:
    follows = {
        tenant: ChangeFeed.begin(store, DecisionFilter(tenant=tenant, effect="deny")) for tenant in ("acme", "globex")
    }
    made = [
        decision(tenant=tenant, effect=effect, node=node)
        for tenant in ("acme", "globex")
        for effect in ("allow", "deny")
        for node in ("node-1", "node-2")
    ]
    store.append(made)
    for tenant, follow in follows.items():
        assert [each for each in made if (each.tenant, each.effect) == (tenant, "deny")] == drained(follow)
    one = ChangeFeed.begin(store, DecisionFilter(node="node-2"))
    store.append(more := [decision(node="node-1"), decision(node="node-2")])
    assert more[1:] == drained(one)


def test_change_feed_gives_past_decisions_first_and_none_twice(store: AuditStore) -> None:
    """Also what is committed while the past is being read, on either side of where it has got to."""
    now = decision().time_us
    past = [decision_at(now - (20 - number) * 60_000_000) for number in range(20)]
    store.append(past)
    follow = ChangeFeed.begin(store, EVERYTHING, past[4].id)
    found = follow.more(5)
    late = [decision_at(now - minutes * 60_000_000) for minutes in (19, 14, 1)]
    store.append(late)
    found += drained(follow, 5)
    assert past[5:] == found[:15]
    assert sorted(late) == sorted(found[15:])


@pytest.mark.parametrize("seed", range(3))
def test_follow_continues_from_any_of_its_cursors(store: AuditStore, seed: int) -> None:
    """Each step by a follow that knows the position of the one before alone."""
    dice = Random(seed)
    now = decision().time_us
    store.append(past := [decision_at(now - HOUR_US + number * 1_000) for number in range(10)])
    follow = ChangeFeed.begin(store, EVERYTHING, past[2].id)
    expected, found = past[3:], list[DecisionRecord]()
    for step in range(60):
        if step < 40 and dice.random() < 0.5:
            made = [
                decision_at(now - dice.choice((0, 0, 5_000_000, HOUR_US)), tenant=dice.choice(("acme", "globex")))
                for _ in range(dice.randrange(1, 12))
            ]
            store.append(made)
            expected += made
        follow = ChangeFeed(store, EVERYTHING, Cursor.load(follow.position.dump(), EVERYTHING))
        found += follow.more(dice.randrange(1, 6))
    found += drained(follow)
    assert sorted(expected) == sorted(found)


def test_each_acknowledged_record_is_followed_once_while_many_write(store: AuditStore, url: str) -> None:
    """Two processes' worth of writers, whose calls are stamped long before they commit."""
    stop = Event()
    acknowledged: list[DecisionRecord] = []

    def write(store: AuditStore, seed: int) -> None:
        dice = Random(seed)
        while not stop.is_set():
            batch = [decision(tenant=dice.choice(("acme", "globex"))) for _ in range(dice.randrange(1, 30))]
            # Meanwhile others commit ids that are newer.
            stop.wait(dice.choice((0, 0, 0.02, 0.4)))
            store.append(batch)
            acknowledged.extend(batch)

    with AuditStore(url).open() as other, AuditStore(url).open() as read:
        follow, of_acme = ChangeFeed.begin(read, EVERYTHING), ChangeFeed.begin(read, DecisionFilter(tenant="acme"))
        threads = [Thread(target=write, args=(each, seed)) for seed, each in enumerate((store, store, other, other))]
        for thread in threads:
            thread.start()
        found, acme = list[DecisionRecord](), list[DecisionRecord]()
        while len(found) < 2_000:
            found += follow.more(100)
            acme += of_acme.more(100)
        stop.set()
        for thread in threads:
            thread.join()
        found += drained(follow, 100)
        acme += drained(of_acme, 100)
    assert sorted(acknowledged) == sorted(found)
    assert [each for each in sorted(acknowledged) if each.tenant == "acme"] == sorted(acme)


def test_many_chains_move_at_once(store: AuditStore) -> None:
    """More than a statement names."""
    follow = ChangeFeed.begin(store, EVERYTHING)
    store.append(made := [decision(tenant=f"t{number}") for number in range(130)])
    assert made == sorted(drained(follow, 20))


def altered(url: str) -> Callable[..., None]:
    def alter(*statements: object) -> None:
        engine = create_engine(url)
        with engine.begin() as connection:
            for each in statements:
                connection.execute(each)  # type: ignore[call-overload]
        engine.dispose()

    return alter


def test_change_feed_does_not_wait_for_deleted_records(store: AuditStore, url: str) -> None:
    follow = ChangeFeed.begin(store, EVERYTHING)
    store.append([gone := decision(), kept := decision()])
    altered(url)(delete(decisions).where(decisions.c.id == gone.id))
    assert [kept] == drained(follow)
    store.append([later := decision()])
    assert [later] == drained(follow)


def test_follow_of_a_restored_store_continues_at_its_end(store: AuditStore, url: str) -> None:
    follow = ChangeFeed.begin(store, EVERYTHING)
    store.append(gone := [decision() for _ in range(3)])
    assert gone == drained(follow)
    altered(url)(delete(decisions), update(chains).values(seq=1))
    assert [] == drained(follow)
    with AuditStore(url) as restarted:
        restarted.append([later := decision()])
    assert [later] == drained(follow)


def test_cursor_of_another_filter_is_refused(store: AuditStore) -> None:
    store.append([decision(), decision(tenant="globex")])
    of_all = ChangeFeed.begin(store, EVERYTHING).position.dump()
    with pytest.raises(ValueError, match="another tenant"):
        Cursor.load(of_all, DecisionFilter(tenant="acme"))
    for text in ("", "[]", "{}", "null", '{"given": [[1]], "newest": "", "history": null, "sweep": null}'):
        with pytest.raises(ValueError, match="is no position"):
            Cursor.load(text, EVERYTHING)
