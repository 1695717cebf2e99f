"""First pages of the queries that docs/how-to/read-the-audit.md shows, over a large log in SQLite. See bench/README.md for the method."""

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from bench import audit_log, machine, table
from bench.servers import CACHE
from remit.audit.query.aggregate import Grouping
from remit.audit.query.filter import DecisionFilter
from remit.audit.store.store import AuditStore

_ROUNDS: Final = 15
_TARGET_MS: Final = 50.0
_PAGE: Final = 50
_WARNED_OF: Final = "count --tenant --by principal --top, of the month"
_DAY_US: Final = 24 * audit_log.HOUR_US

Query = Callable[[AuditStore, random.Random], int]
"""Asks with values drawn anew each time; how much it found."""


def listing(*, newest_first: bool = True, **fields: Any) -> Query:
    """A page of the records with these fields; what can be called is drawn."""

    def ask(store: AuditStore, dice: random.Random) -> int:
        drawn = {name: value(dice) if callable(value) else value for name, value in fields.items()}
        after = drawn.pop("after", None)
        return len(store.page(DecisionFilter(**drawn), after=after, limit=_PAGE, newest_first=newest_first).records)

    return ask


def counting(*by: Grouping, most_first: bool = False, **fields: Any) -> Query:
    def ask(store: AuditStore, dice: random.Random) -> int:
        drawn = {name: value(dice) if callable(value) else value for name, value in fields.items()}
        return len(store.counts(DecisionFilter(**drawn), by, limit=100, most_first=most_first))

    return ask


def somebody(dice: random.Random) -> str:
    return audit_log.principal("acme", dice.randrange(audit_log.PRINCIPALS["acme"]))


def somewhere(dice: random.Random) -> str:
    return audit_log.namespace("acme", dice.randrange(audit_log.NAMESPACES["acme"]))


def rarely(dice: random.Random) -> str:
    """One of the namespaces that are asked about least."""
    return audit_log.namespace("initech", dice.randrange(15, audit_log.NAMESPACES["initech"]))


def some_time(dice: random.Random) -> int:
    return dice.randrange(audit_log.BEGIN_US, audit_log.END_US - _DAY_US)


def queries() -> Iterator[tuple[str, Query]]:
    """What docs/how-to/read-the-audit.md shows, and at the end what it warns of."""
    week = {"since_us": audit_log.END_US - 7 * _DAY_US}
    caller = "spiffe://example.org/ns/prod/sa/"
    yield "list", listing()
    yield "list --oldest-first", listing(newest_first=False)
    yield "list --tenant", listing(tenant="acme")
    yield "list --tenant, of a small one", listing(tenant="initech")
    yield "list --tenant, of none", listing(tenant="hooli")
    yield "list --tenant --since", listing(tenant="acme", since_us=some_time, newest_first=False)
    yield "list --tenant --principal", listing(tenant="acme", principal=somebody)
    yield "list --principal", listing(principal=somebody)
    yield "list --tenant --principal --effect deny", listing(tenant="acme", principal=somebody, effect="deny")
    yield "list --tenant --principal --namespace", listing(tenant="acme", principal=somebody, namespace=somewhere)
    yield "list --tenant --namespace", listing(tenant="acme", namespace=somewhere)
    yield "list --tenant --namespace, of many below", listing(tenant="acme", namespace="acme.department3")
    yield "list --namespace, a rare one", listing(namespace=rarely)
    yield "list --tenant --namespace --effect deny", listing(tenant="acme", namespace=somewhere, effect="deny")
    yield "list --effect deny", listing(effect="deny")
    yield "list --tenant --reason", listing(tenant="acme", reason="DENIED_BY_RULE")
    yield "list --tenant --reason, a rare one", listing(tenant="acme", reason="UNKNOWN_KIND")
    yield "list --reason, a rare one", listing(reason="UNKNOWN_KIND")
    yield "list --namespace --reason, both rare", listing(namespace=rarely, reason="NO_ACCESS")
    yield "list --question, a rare one", listing(question="SERVED")
    yield "list --tenant --question --effect deny", listing(tenant="acme", question="GRAPH", effect="deny")
    yield "list --caller", listing(caller=f"{caller}console")
    yield "list --caller, a rare one", listing(caller=f"{caller}migration")
    yield "list --tenant --caller, of none", listing(tenant="acme", caller=f"{caller}nobody")
    yield "list --node, a rare one", listing(node="node-3")
    yield (
        "list --tenant --revision",
        listing(tenant="acme", revision=lambda dice: audit_log.revision("acme", dice.randrange(30))),
    )
    yield "list --tenant --until", listing(tenant="initech", until_us=some_time, effect="deny")
    yield "count --by tenant", counting(Grouping.TENANT)
    yield "count --tenant --by day --by effect", counting(Grouping.DAY, Grouping.EFFECT, tenant="acme")
    yield "count --tenant --by reason", counting(Grouping.REASON, tenant="acme")
    yield (
        "count --tenant --namespace --by hour --since 7d",
        counting(Grouping.HOUR, tenant="acme", namespace=somewhere, **week),
    )
    yield (
        "count --tenant --by namespace, of a day",
        counting(Grouping.NAMESPACE, tenant="acme", since_us=audit_log.END_US - _DAY_US),
    )
    yield (
        "count --tenant --effect deny --by principal --top, of a day",
        counting(
            Grouping.PRINCIPAL, tenant="acme", effect="deny", most_first=True, since_us=audit_log.END_US - _DAY_US
        ),
    )
    yield (
        _WARNED_OF,
        counting(Grouping.PRINCIPAL, tenant="acme", most_first=True),
    )


def measure(store: AuditStore) -> list[list[str]]:
    """Each query in turn, round after round."""
    asked = list(queries())
    taken: dict[str, list[float]] = {name: [] for name, _ in asked}
    busy: dict[str, list[float]] = {name: [] for name, _ in asked}
    found: dict[str, list[int]] = {name: [] for name, _ in asked}
    for each in range(_ROUNDS):
        for name, query in asked:
            dice = random.Random(each)
            start, worked = time.perf_counter(), time.process_time()
            found[name].append(query(store, dice))
            taken[name].append((time.perf_counter() - start) * 1000)
            busy[name].append((time.process_time() - worked) * 1000)
    rows = []
    for name, times in taken.items():
        median = statistics.median(times)
        reached = "no target" if name == _WARNED_OF else table.target(median <= _TARGET_MS)
        worked = statistics.median(busy[name])
        figures = (f"{worked:.1f} ms", f"{median:.1f} ms", f"{max(times):.1f} ms")
        rows.append([name, f"{statistics.median(found[name]):g}", *figures, reached])
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000_000)
    number = parser.parse_args().records
    print(f"machine: {machine.describe()}")
    CACHE.mkdir(exist_ok=True)
    path = CACHE / f"audit-{number}.db"
    print(f"{number:,} records of {audit_log.DAYS} days in {path.name}", flush=True)
    with audit_log.written(path, number) as store:
        print(f"{store.size_bytes() / number:.0f} bytes a record, counts and index included")
        print(f"{machine.quietness()}\n")
        heading = ["query, first page", "found", "of a core", "median", "worst", f"target {_TARGET_MS:g} ms"]
        table.show(heading, measure(store))
    return 0


if __name__ == "__main__":
    sys.exit(main())
