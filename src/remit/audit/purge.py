import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Engine, delete, insert, select, update

from remit.audit.filter import DecisionFilter
from remit.audit.record import LifecycleRecord
from remit.audit.tables import decisions, lifecycle

# SQLite has one writer at a time, and one that waits looks again only every few milliseconds: between transactions
# the purge keeps its hands off for at least as long as it held them on.
_LEAST_PAUSE_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge:
    """Deletes the decisions that `where` selects, oldest first, a few rows a transaction.

    The PURGED record is written by the first transaction, and each later one sets its count: whatever stops the
    purge, the record tells what is gone.
    """

    reading: Engine
    writing: Engine
    where: DecisionFilter
    record: LifecycleRecord
    rows_per_transaction: int
    progress: Callable[[int], None] | None

    def run(self) -> int:
        deleted = 0
        after = b""
        while True:
            ids = self._next_ids(after)
            began = time.monotonic()
            deleted = self._transaction(ids, deleted)
            held_s = time.monotonic() - began
            if self.progress is not None:
                self.progress(deleted)
            if len(ids) < self.rows_per_transaction:
                return deleted
            after = ids[-1]
            time.sleep(max(held_s, _LEAST_PAUSE_S))

    def _next_ids(self, after: bytes) -> list[bytes]:
        statement = (
            select(decisions.c.id)
            .where(*self._conditions(), decisions.c.id > after)
            .order_by(decisions.c.id)
            .limit(self.rows_per_transaction)
        )
        with self.reading.connect() as connection:
            return list(connection.execute(statement).scalars())

    def _transaction(self, ids: list[bytes], deleted: int) -> int:
        with self.writing.begin() as connection:
            if ids:
                statement = delete(decisions).where(*self._conditions(), decisions.c.id.between(ids[0], ids[-1]))
                gone = deleted + connection.execute(statement).rowcount
            else:
                gone = deleted
            record = self.record._replace(detail=self._detail(gone))
            changed = connection.execute(
                update(lifecycle).where(lifecycle.c.id == record.id).values(detail=record.detail)
            ).rowcount
            if changed == 0:
                connection.execute(insert(lifecycle).values(record._asdict()))
        return gone

    def _conditions(self) -> list[ColumnElement[bool]]:
        # The primary key is the order of the walk; SQLite would rather sort a tenant's whole index.
        return self.where.conditions(
            unindexed=frozenset({"tenant"}) if self.reading.dialect.name == "sqlite" else frozenset()
        )

    def _detail(self, deleted: int) -> str:
        asked = {"before_us": self.where.until_us, "tenant": self.where.tenant}
        return json.dumps({**asked, "deleted": deleted}, separators=(",", ":"))
