"""A small store with everything in it that a verification looks at, and ways to tamper with it that leave no trace behind."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, select
from support.audit_records import IDS, decision, decision_at, happened, linked

from remit.audit.chain.chain import DECISIONS, LIFECYCLE, ChainId, Head, link_lifecycle
from remit.audit.chain.signing import Checkpoint, SigningKey, Tombstone, signed
from remit.audit.record import DecisionRecord, LifecycleRecord
from remit.audit.schema.tables import HOUR_US, decisions, lifecycle, tombstones
from remit.audit.store import checkpoints
from remit.audit.store.checkpoints import heads
from remit.audit.store.store import AuditStore
from remit.audit.verify.finding import VerificationReport
from remit.audit.verify.store import verify_store
from remit.clock import now_us

TABLES = {DECISIONS: decisions, LIFECYCLE: lifecycle}
PURGED = 3
MAIN = ChainId(DECISIONS, "acme", "node-1")
"""The chain that a purge took PURGED records from."""
PLACES = {
    MAIN: 14,
    ChainId(DECISIONS, "acme", "node-2"): 5,
    ChainId(DECISIONS, "globex", "node-1"): 7,
    ChainId(LIFECYCLE, "acme", "node-1"): 5,
    ChainId(LIFECYCLE, "", "node-1"): 4,
}
"""The records of each chain."""

Fields = dict[str, Any]


class World:
    def __init__(
        self, store: AuditStore, key: SigningKey, connection: Connection, rows: dict[ChainId, list[Fields]]
    ) -> None:
        """`rows` are what is left, in the order of the chains."""
        self.store = store
        self.key = key
        self.connection = connection
        self.rows = rows

    def __repr__(self) -> str:
        return "world"

    def verify(self, **options: Any) -> VerificationReport:
        return verify_store([self.connection], **{"keys": [self.key.public], **options})

    def heads(self) -> list[tuple[Checkpoint, str]]:
        """What somebody keeps elsewhere."""
        found = [Checkpoint(*chain, *head, 0, b"", 0) for chain, head in heads(self.store)]
        return [(head, f"heads:{line}") for line, head in enumerate(found, 1)]

    @contextmanager
    def tampered(self) -> Iterator[None]:
        """What is done to the connection meanwhile is undone behind it."""
        before = self.connection.begin_nested()
        try:
            yield
        finally:
            before.rollback()

    def alter(self, table: Table, row: Fields, **values: Any) -> None:
        # Whatever the type: SQLite's columns hold more than they are declared to.
        place = "?" if self.connection.dialect.name == "sqlite" else "%s"
        keys = [column.name for column in table.primary_key]
        assignments, where = (
            f" {between} ".join(f"{name} = {place}" for name in names)
            for between, names in ((",", values), ("AND", keys))
        )
        changed = self.connection.exec_driver_sql(
            f"UPDATE {table.name} SET {assignments} WHERE {where}", (*values.values(), *(row[name] for name in keys))
        )
        assert 1 == changed.rowcount

    def remove(self, table: Table, rows: Sequence[Fields]) -> None:
        for row in rows:
            assert 1 == self.connection.execute(delete(table).where(*_key(table, row))).rowcount

    def insert(self, table: Table, row: Fields) -> None:
        self.connection.execute(insert(table).values(row))

    def all(self, table: Table) -> list[Fields]:
        rows = self.connection.execute(select(table).order_by(*table.primary_key))
        return [dict(row._mapping) for row in rows]


@contextmanager
def filled(url: str, folder: Path) -> Iterator[World]:
    key = SigningKey.new(folder / "audit.pem")
    with AuditStore(url) as store:
        store.migrate()
        store.open()
        _fill(store, key)
        with store._writing.connect() as connection, connection.begin() as whole:
            rows: dict[ChainId, list[Fields]] = defaultdict(list)
            made = World(store, key, connection, rows)
            for name, table in TABLES.items():
                for row in made.all(table):
                    if row["seq"]:
                        rows[ChainId(name, row["tenant"], row["node"])].append(row)
            for its in rows.values():
                its.sort(key=lambda row: row["seq"])
            yield made
            whole.rollback()


def _fill(store: AuditStore, key: SigningKey) -> None:
    rng = Random(7)
    with store.transaction() as connection:
        for _ in range(2):  # from before there were chains
            old = decision_at(now_us() - 2 * HOUR_US, node="node-2")
            connection.execute(insert(decisions).values({**old._asdict(), "seq": 0, "hash": b""}))
    records = [record for chain, places in PLACES.items() for record in _records(chain, places)]
    rng.shuffle(records)
    for start in range(0, len(records), 6):
        some = records[start : start + 6]
        store.append(
            [each for each in some if isinstance(each, DecisionRecord)],
            [each for each in some if isinstance(each, LifecycleRecord)],
        )
        if start % 12 == 0:
            sign_heads(store, key)
    sign_heads(store, key)
    with store.transaction() as connection:
        its = (decisions.c.tenant == MAIN.tenant, decisions.c.node == MAIN.node, decisions.c.seq > 0)
        last = connection.execute(select(decisions.c.hash).where(*its, decisions.c.seq == PURGED)).scalar_one()
        connection.execute(delete(decisions).where(*its, decisions.c.seq <= PURGED))
        time_us = IDS.stamp()[0]
        earlier = Tombstone(MAIN.tenant, MAIN.node, 1, b"e" * 32, time_us, time_us)
        for tombstone in (earlier, Tombstone(MAIN.tenant, MAIN.node, PURGED, last, time_us, time_us)):
            connection.execute(insert(tombstones).values(signed(tombstone, key)._asdict()))


def _records(chain: ChainId, places: int) -> list[DecisionRecord | LifecycleRecord]:
    if chain.table == DECISIONS:
        return [decision(tenant=chain.tenant, node=chain.node) for _ in range(places)]
    return [happened(tenant=chain.tenant, node=chain.node) for _ in range(places)]


def sign_heads(store: AuditStore, key: SigningKey) -> list[Checkpoint]:
    made = []
    for chain, head in heads(store):
        before = checkpoints.newest(store, chain)
        if head != before:
            made.append(signed(Checkpoint(*chain, *head, *before, IDS.stamp()[0]), key))
    checkpoints.keep(store, made)
    return made


def relinked(chain: ChainId, rows: Sequence[Fields], head: Head) -> list[Fields]:
    """The rows with the places that a writer would give them behind `head`: what a forger who knows the page does."""
    record: Any = DecisionRecord if chain.table == DECISIONS else LifecycleRecord
    link: Any = linked if chain.table == DECISIONS else link_lifecycle
    names = record._fields
    _, placed = link([record(**{name: row[name] for name in names}) for row in rows], head)
    return [dict(zip((*names, "seq", "hash"), row, strict=True)) for row in placed]


def _key(table: Table, row: Fields) -> list[Any]:
    return [column == row[column.name] for column in table.primary_key]
