"""Sums over the counts, over SQLite and PostgreSQL: they are what the records add up to."""

from collections import Counter
from datetime import UTC, datetime
from itertools import product
from random import Random

import pytest
from alembic import command
from sqlalchemy import create_engine
from support.audit_records import decision_at

from remit.audit.errors import NotCountedError
from remit.audit.query.aggregate import Count, Grouping, whole_hours
from remit.audit.query.filter import DecisionFilter
from remit.audit.record import DecisionRecord
from remit.audit.schema.migrations import run
from remit.audit.schema.tables import counts
from remit.audit.store.store import AuditStore

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
T0 = int(datetime(2026, 11, 24, tzinfo=UTC).timestamp()) * 1_000_000
COLUMNS = {
    "tenant": ("acme", "globex"),
    "principal": ("user:ada", "user:bob", "user:eve"),
    "namespace": ("", "prod", "prod.etl", "prod2"),
    "effect": ("allow", "deny"),
    "reason": ("ALLOWED_BY_RULE", "NO_BINDING"),
    "question": ("CHECK", "REACH"),
    "caller": ("web", "executor"),
    "node": ("node-1", "node-2"),
    "revision": ("5e" * 32, "7a" * 32),
}
DIMENSIONS = ("principal", "namespace", "revision", "caller", "question")


def some(dice: Random, number: int) -> list[DecisionRecord]:
    return [
        decision_at(
            T0 + dice.randrange(3) * DAY_US + dice.randrange(5) * HOUR_US + dice.randrange(HOUR_US),
            **{name: dice.choice(values) for name, values in COLUMNS.items()},
        )
        for _ in range(number)
    ]


@pytest.fixture
def decided(store: AuditStore) -> tuple[list[DecisionRecord], list[DecisionRecord]]:
    """Those with a record and those without."""
    dice = Random(3)
    kept, left = some(dice, 120), some(dice, 40)
    for start in range(0, len(kept), 9):
        store.append(kept[start : start + 9], unrecorded=left[start // 3 : start // 3 + 3])
    return kept, left


def value_of(record: DecisionRecord, grouping: Grouping) -> str | int:
    match grouping:
        case Grouping.HOUR:
            return record.time_us // HOUR_US * HOUR_US
        case Grouping.DAY:
            return record.time_us // DAY_US * DAY_US
    value: str = getattr(record, grouping.value)
    return value


def added_up(
    decided: tuple[list[DecisionRecord], list[DecisionRecord]], where: DecisionFilter, by: list[Grouping]
) -> list[Count]:
    since_us, until_us = whole_hours(where)
    sums: tuple[Counter[tuple[str | int, ...]], Counter[tuple[str | int, ...]]] = (Counter(), Counter())
    for found, records in zip(sums, decided, strict=True):
        found.update(
            tuple(value_of(each, grouping) for grouping in by)
            for each in records
            if all(getattr(each, name) == value for name, value in where.equal.items())
            and (not where.namespace or f"{each.namespace}.".startswith(f"{where.namespace}."))
            and (since_us is None or each.time_us >= since_us)
            and (until_us is None or each.time_us < until_us)
        )
    recorded, unrecorded = sums
    return [Count(group, recorded[group], unrecorded[group]) for group in sorted(recorded.keys() | unrecorded.keys())]


def test_sums_equal_the_decisions(
    store: AuditStore, decided: tuple[list[DecisionRecord], list[DecisionRecord]]
) -> None:
    dice = Random(5)
    for _ in range(60):
        dimension = dice.choice(DIMENSIONS)
        others = ["tenant", "effect", "reason", "node"]
        asked = {name: dice.choice(COLUMNS[name]) for name in dice.sample([*others, dimension], dice.randrange(3))}
        since, until = (dice.choice((None, T0 + dice.randrange(3 * DAY_US))) for _ in range(2))
        where = DecisionFilter(**asked, since_us=since, until_us=until)
        names = dice.sample([*others, dimension, "hour", "day"], dice.randrange(1, 4))
        by = [Grouping(name) for name in names]
        assert added_up(decided, where, by) == store.counts(where, by), (where, by)


def test_counts_without_grouping_are_one_sum(store: AuditStore) -> None:
    assert [Count((), 0, 0)] == store.counts()
    store.append(some(Random(1), 7), unrecorded=some(Random(2), 3))
    assert [Count((), 7, 3)] == store.counts()
    assert [Count((), 0, 0)] == store.counts(DecisionFilter(tenant="hooli"))


def test_groups_come_in_pages_in_their_order(
    store: AuditStore, decided: tuple[list[DecisionRecord], list[DecisionRecord]]
) -> None:
    for by in (
        [Grouping.PRINCIPAL],
        [Grouping.DAY, Grouping.TENANT, Grouping.REASON],
        [Grouping.REASON, Grouping.HOUR],
    ):
        expected = added_up(decided, DecisionFilter(), by)
        found: list[Count] = []
        while page := store.counts(by=by, after=found[-1].group if found else None, limit=4):
            found += page
        assert expected == found


def test_counts_are_sorted_by_size_if_requested(
    store: AuditStore, decided: tuple[list[DecisionRecord], list[DecisionRecord]]
) -> None:
    by = [Grouping.NAMESPACE, Grouping.EFFECT]
    expected = sorted(
        added_up(decided, DecisionFilter(), by), key=lambda each: (-each.recorded - each.unrecorded, each.group)
    )
    assert expected[:5] == store.counts(by=by, limit=5, most_first=True)


def test_two_dimensions_at_once_are_refused(store: AuditStore) -> None:
    for filtered, grouped in product(DIMENSIONS, DIMENSIONS):
        where = DecisionFilter(**{filtered: COLUMNS[filtered][-1]})
        if filtered == grouped:
            store.counts(where, [Grouping(grouped)])
        else:
            with pytest.raises(NotCountedError, match="name one"):
                store.counts(where, [Grouping(grouped)])


def test_migration_counts_older_records(store: AuditStore, url: str) -> None:
    """And is found, for the counts say where."""
    kept = some(Random(9), 50)
    store.append(kept)
    engine = create_engine(url)
    with engine.connect() as connection:
        expected = sorted(tuple(row) for row in connection.execute(counts.select()))
    with engine.begin() as connection:
        config = run.config()
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
    store.close()

    store.migrate()

    with engine.connect() as connection:
        assert expected == sorted(tuple(row) for row in connection.execute(counts.select()))
    engine.dispose()
    where = DecisionFilter(tenant="acme", reason="NO_BINDING")
    assert sorted(each for each in kept if (each.tenant, each.reason) == ("acme", "NO_BINDING")) == store.decisions(
        where, newest_first=False
    )


@pytest.mark.parametrize("where", [{}, {"since_us": T0 + HOUR_US, "until_us": T0 + DAY_US + 2 * HOUR_US}])
def test_what_callers_asked_adds_up_over_the_hours(
    store: AuditStore, decided: tuple[list[DecisionRecord], list[DecisionRecord]], where: dict[str, int]
) -> None:
    begin, end = where.get("since_us", 0), where.get("until_us", T0 + 9 * DAY_US)
    expected: dict[tuple[str, str, str], list[int]] = {}
    for record in decided[0]:
        if begin <= record.time_us < end:
            expected.setdefault((record.caller, record.tenant, record.question), []).append(record.time_us)

    found: dict[tuple[str, str, str], list[int]] = {}
    parts = list(store.each_callers_questions(DecisionFilter(**where)))
    for each in parts:
        found.setdefault((each.caller, each.tenant, each.question), []).extend([each.first_us, each.last_us])

    assert len(parts) > len(found)
    assert sum(each.records for each in parts) == sum(map(len, expected.values()))
    assert {key: (min(times), max(times)) for key, times in expected.items()} == {
        key: (min(times), max(times)) for key, times in found.items()
    }
