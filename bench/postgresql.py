"""Ways to write records to PostgreSQL, side by side. See bench/README.md for the method."""

import statistics
import sys
import time
from collections.abc import Callable
from random import Random
from typing import Any

import psycopg
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from bench import machine, table
from remit.audit.append.bulk_insert import Copy, InsertMany, Rows, insert_statement, rollup_insert
from remit.audit.append.rollup import counted
from remit.audit.batch import RecordBatch
from remit.audit.chain.chain import DECISIONS, ChainId, Row, genesis, link_decisions
from remit.audit.ids import DecisionIds
from remit.audit.record import DecisionRecord
from remit.audit.schema.tables import counts, decisions_by_call
from remit.audit.store.store import AuditStore
from tests.tools.faults.postgresql import OwnServer

SIZES = (1, 8, 64, 512, 4096)
"""Records in a transaction."""
_ROUNDS = 25
_WARMING = 6
"""psycopg prepares what it has seen five times."""
_DIALECT: Any = PGDialect_psycopg(paramstyle="format")

Way = Callable[[Any, Rows], None]


def executemany(of: Any) -> Way:
    sql = str(insert_statement(of, _DIALECT).compile(dialect=_DIALECT))
    return lambda cursor, rows: cursor.executemany(sql, rows)


RECORDS: dict[str, Way] = {
    "executemany": executemany(decisions_by_call),
    "one insert of many rows": InsertMany(insert_statement(decisions_by_call, _DIALECT), _DIALECT),
    "COPY (remit's)": Copy(decisions_by_call),
}
COUNTS: dict[str, Way] = {
    "executemany": executemany(counts),
    "one JSON parameter (remit's)": rollup_insert(_DIALECT),
}


def records(ids: DecisionIds, random: Random, count: int) -> list[DecisionRecord]:
    """Calls of one question each, of some people about some namespaces."""
    made = []
    for _ in range(count):
        time_us, (id_, call_id) = ids.stamp(2)
        who, where = f"user:person-{random.randrange(1000)}", f"acme.team-{random.randrange(50)}.etl"
        asked = (where, who, "VIEW", "FLOW", f"flow-{random.randrange(1000)}")
        answer = ("allow", "ALLOWED_BY_RULE", "acme/roles.csv:12", "5e" * 32, 2_100, call_id, -1, "", "CHECK", "")
        made.append(DecisionRecord(id_, time_us, "node-1", "spiffe://acme/scheduler", "", "acme", *asked, *answer))
    return made


def measure(connection: Any, ways: dict[str, Way], rows_of: Callable[[int], list[Row]]) -> list[list[str]]:
    cursor = connection.cursor()
    found = []
    for size in SIZES:
        wall: dict[str, list[float]] = {name: [] for name in ways}
        own: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(_ROUNDS):
            for name, way in ways.items():
                rows = rows_of(size)
                began, worked = time.perf_counter(), time.thread_time()
                way(cursor, rows)
                worked, took = time.thread_time() - worked, time.perf_counter() - began
                # The commit costs all of them the same, and what the counts would conflict with is gone.
                connection.rollback() if ways is COUNTS else connection.commit()
                if number >= _WARMING:
                    wall[name].append(took)
                    own[name].append(worked)
        for name in ways:
            cells = [f"{statistics.median(of[name]) * 1000:.2f} ms" for of in (wall, own)]
            found.append([f"{size:,} by {name}", *cells, *(ratio(of, name) for of in (wall, own))])
    return found


def ratio(taken: dict[str, list[float]], name: str) -> str:
    """To `executemany`, within each round."""
    return f"{statistics.median(one / other for one, other in zip(taken[name], taken['executemany'], strict=True)):.2f}"


def main() -> int:
    print(f"machine: {machine.describe()}, psycopg {psycopg.__version__}")
    print(f"{machine.quietness()}\n")
    ids, random = DecisionIds(), Random(1)

    def decided(size: int) -> list[Row]:
        calls = RecordBatch.of(records(ids, random, size)).calls
        _, linked = link_decisions(calls, genesis(ChainId(DECISIONS, "acme", "node-1")))
        return [call + row for call, rows in linked for row in rows]

    with OwnServer() as server:
        with AuditStore(server.url) as store:
            store.migrate()
        with psycopg.connect(server.url.replace("+psycopg", "")) as connection:
            headings = ["time", "the interpreter's own", "ratio", "ratio"]
            table.show(["decisions", *headings], measure(connection, RECORDS, decided))
            sums = measure(connection, COUNTS, lambda size: counted(records(ids, random, size)))
            table.show(["counts of decisions", *headings], sums)
    return 0


if __name__ == "__main__":
    sys.exit(main())
