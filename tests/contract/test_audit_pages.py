"""Pages of decisions over SQLite and PostgreSQL: whatever a filter asks and wherever the records stand, a page is what a
scan of all records finds."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random

import pytest
from support.audit_records import decision_at

from remit.audit.query import page
from remit.audit.query.filter import DecisionFilter
from remit.audit.record import DecisionRecord
from remit.audit.store.store import AuditStore

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
T0 = 1_800_000_000_000_000 // HOUR_US * HOUR_US
SLACK_US = 999_000
COLUMNS = {
    "tenant": ("acme", "globex", "a"),
    "principal": ("user:ada", "user:bob", "user:eve"),
    "namespace": ("", "prod", "prod.etl", "prod.etl.x", "prod2", "test"),
    "effect": ("allow", "deny", ""),
    "reason": ("ALLOWED_BY_RULE", "NO_BINDING", "NO_ACCESS"),
    "question": ("CHECK", "REACH"),
    "caller": ("web", "executor"),
    "node": ("node-1", "node-2"),
    "revision": ("5e" * 32, "7a" * 32, ""),
}


def times(dice: Random) -> Iterator[int]:
    """Close together, at the edges of minutes and hours, and far apart."""
    for base in (0, 3, 40 * HOUR_US, 41 * HOUR_US - 1, 300 * HOUR_US):
        for _ in range(10):
            offset = dice.choice((0, -1, 1, MINUTE_US - 1, MINUTE_US, HOUR_US, dice.randrange(4 * HOUR_US)))
            yield T0 + base + offset


@pytest.fixture
def records(store: AuditStore) -> list[DecisionRecord]:
    """In the order of ids. Some have a time that is a little off their id's."""
    dice = Random(7)
    made = []
    for time_us in times(dice):
        fields = {name: dice.choice(values) for name, values in COLUMNS.items()}
        record = decision_at(time_us, **fields)
        made.append(record._replace(time_us=time_us + dice.choice((0, 0, SLACK_US, -SLACK_US))))
    dice.shuffle(made)
    for start in range(0, len(made), 7):
        store.append(made[start : start + 7])
    return sorted(made)


@pytest.fixture(autouse=True)
def _both_ways_to_a_principal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last few records of a principal are walked, of more the counts are asked."""
    monkeypatch.setattr(page, "_SHORT", 4)


def holds(where: DecisionFilter, record: DecisionRecord) -> bool:
    return (
        all(getattr(record, name) == value for name, value in where.equal.items())
        and (not where.ids or record.id in where.ids)
        and (not where.namespace or f"{record.namespace}.".startswith(f"{where.namespace}."))
        and (where.since_us is None or record.time_us >= where.since_us)
        and (where.until_us is None or record.time_us < where.until_us)
    )


def some_filters(records: list[DecisionRecord], number: int) -> Iterator[DecisionFilter]:
    """Each asks something of up to four columns, mostly what some record has."""
    dice = Random(11)
    for _ in range(number):
        like = dice.choice(records)
        names = dice.sample([*COLUMNS], dice.randrange(5))
        asked = {name: getattr(like, name) if dice.random() < 0.8 else dice.choice(COLUMNS[name]) for name in names}
        since, until = (dice.choice((None, None, dice.choice(records).time_us + dice.randrange(2))) for _ in range(2))
        yield DecisionFilter(**asked, since_us=since, until_us=until)


def walked(next_page: Callable[[bytes | None], page.RecordPage]) -> list[DecisionRecord]:
    """All pages in order."""
    found: list[DecisionRecord] = []
    after: bytes | None = None
    while True:
        some, beyond = next_page(after)
        found += some
        if beyond is None:
            return found
        assert beyond != after, "no step further"
        after = beyond


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize(("budget_s", "filters"), [(None, 50), (0.0, 12)])
def test_pages_are_what_a_scan_finds(
    store: AuditStore, records: list[DecisionRecord], budget_s: float | None, filters: int, *, newest_first: bool
) -> None:
    """In order, each record once and none left out; also where no page has the time to look further than a step."""
    for where in some_filters(records, filters):
        expected = sorted((each for each in records if holds(where, each)), reverse=newest_first)

        def next_page(after: bytes | None, where: DecisionFilter = where) -> page.RecordPage:
            return store.page(where, after=after, limit=4, newest_first=newest_first, budget_s=budget_s)

        assert expected == walked(next_page), where


@pytest.mark.parametrize("newest_first", [True, False])
def test_page_begins_after_any_id(store: AuditStore, records: list[DecisionRecord], *, newest_first: bool) -> None:
    for where in some_filters(records, 10):
        for after in records[::9]:
            rest = [
                each
                for each in sorted(records, reverse=newest_first)
                if holds(where, each) and (each.id < after.id if newest_first else each.id > after.id)
            ]
            assert rest[:5] == store.decisions(where, after=after.id, limit=5, newest_first=newest_first), where


def test_only_the_records_with_these_ids(store: AuditStore, records: list[DecisionRecord]) -> None:
    where = DecisionFilter(ids=tuple(each.id for each in records[3:20:4]))
    assert records[3:20:4] == store.decisions(where, newest_first=False)
    of_tenant = replace(where, tenant="acme")
    assert [each for each in records[3:20:4] if each.tenant == "acme"] == store.decisions(of_tenant, newest_first=False)


def test_records_written_between_pages_move_no_other_record(store: AuditStore) -> None:
    """Newer ones and, committed late, older ones too."""
    where = DecisionFilter(tenant="acme", namespace="prod")
    made = [decision_at(T0 + number * MINUTE_US, namespace="prod.etl") for number in range(12)]
    store.append(made)
    found, after = store.page(where, limit=5)
    store.append([decision_at(T0 + number * MINUTE_US + 7, namespace="prod.etl") for number in (9, 10, 13)])
    found += store.page(where, after=after, limit=100).records
    assert made[::-1] == found


def test_page_that_runs_out_of_time_says_where_to_continue(store: AuditStore, records: list[DecisionRecord]) -> None:
    where = DecisionFilter(tenant="acme", caller="nobody")
    pages = 0
    after: bytes | None = None
    while True:
        found, after = store.page(where, after=after, budget_s=0.0)
        assert [] == found
        pages += 1
        if after is None:
            break
    assert 3 < pages < 300
