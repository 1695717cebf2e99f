"""Which minutes a search looks at: those that the counts name, and no others."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.audit_records import decision_at

from remit.audit.query.filter import DecisionFilter
from remit.audit.query.minute_index import Interval, MinuteIndex
from remit.audit.store.store import AuditStore

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
T0 = 1_800_000_000_000_000 // HOUR_US * HOUR_US


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AuditStore]:
    """Minute by minute, over two hours and far apart: who, where and why."""
    decided = [
        (0, "user:ada", "prod", "NO_BINDING"),
        (1, "user:ada", "prod.etl", "ALLOWED_BY_RULE"),
        (2, "user:bob", "prod.etl", "NO_BINDING"),
        (59, "user:bob", "test", "NO_BINDING"),
        (60, "user:ada", "test", "NO_BINDING"),
        (60 * 5_000, "user:ada", "prod", "NO_BINDING"),
    ]
    with AuditStore(f"sqlite:///{tmp_path / 'audit.db'}") as made:
        made.migrate()
        made.append(
            [
                decision_at(T0 + minute * MINUTE_US + 5, principal=who, namespace=where, reason=why)
                for minute, who, where, why in decided
            ]
        )
        made.append([], unrecorded=[decision_at(T0 + 30 * MINUTE_US, principal="user:ada")])
        yield made.open()


@pytest.mark.parametrize(
    ("where", "minutes"),
    [
        (DecisionFilter(tenant="acme"), [(0, 3), (59, 60), (60, 61), (300_000, 300_001)]),
        (DecisionFilter(reason="NO_BINDING"), [(0, 1), (2, 3), (59, 60), (60, 61), (300_000, 300_001)]),
        (DecisionFilter(principal="user:ada"), [(0, 2), (60, 61), (300_000, 300_001)]),
        (DecisionFilter(principal="user:ada", reason="ALLOWED_BY_RULE"), [(1, 2)]),
        (DecisionFilter(namespace="prod"), [(0, 3), (300_000, 300_001)]),
        (DecisionFilter(namespace="prod", principal="user:bob"), [(2, 3)]),
        (DecisionFilter(namespace="prod.etl", reason="NO_BINDING"), [(2, 3)]),
        (DecisionFilter(namespace="prod", caller="nobody"), []),
        (DecisionFilter(tenant="globex"), []),
    ],
    ids=range(9),
)
@pytest.mark.parametrize("newest_first", [True, False])
def test_query_reads_only_the_minutes_that_hold_the_value(
    store: AuditStore, where: DecisionFilter, minutes: list[tuple[int, int]], *, newest_first: bool
) -> None:
    with store.reading() as connection:
        looks = MinuteIndex(connection, where).between(T0, T0 + 5_000 * HOUR_US, newest_first=newest_first)
        found = [each for runs, _ in looks for each in runs]
    expected = [Interval(T0 + begin * MINUTE_US, T0 + end * MINUTE_US) for begin, end in minutes]
    assert (expected[::-1] if newest_first else expected) == found
