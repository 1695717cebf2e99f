"""The hot path of the audit: turns records into rows and sends Core-compiled SQL directly to the driver."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Dialect, Engine

from remit.audit.append.bulk_insert import decision_insert, lifecycle_insert, revision_insert, rollup_insert
from remit.audit.append.chain_heads import ChainHeads, KnownHeads
from remit.audit.append.rollup import counted
from remit.audit.batch import RecordBatch
from remit.audit.chain.chain import DECISIONS, LIFECYCLE, ChainId, Head, link_decisions, link_lifecycle
from remit.audit.errors import AuditStoreError, RecordRefused
from remit.audit.record import ArchivedRevision, DecisionRecord, LifecycleRecord
from remit.audit.schema.open_files import OpenFiles

_Made = TypeVar("_Made")
_Linked = TypeVar("_Linked")
_Link = Callable[[Sequence[_Made], Head], tuple[Head, list[_Linked]]]


class Appender:
    """Appends records on one driver connection. Not thread-safe."""

    def __init__(self, engine: Engine, known: KnownHeads, files: OpenFiles | None = None) -> None:
        """`known` are the heads that earlier appenders of this process committed. `files` are the files of SQLite."""
        self._files = files
        self._holds_log = False
        self._pooled = engine.raw_connection()
        self._cursor = self._pooled.cursor()
        self._driver: Any = engine.dialect.loaded_dbapi
        self._sqlite = engine.dialect.name == "sqlite"
        dialect_class: Any = type(engine.dialect)
        dialect: Dialect = dialect_class(paramstyle="qmark" if self._sqlite else "format")
        self._add_decisions = decision_insert(dialect)
        self._add_lifecycle = lifecycle_insert(dialect)
        self._add_counts = rollup_insert(dialect)
        self._add_revisions = revision_insert(dialect)
        self._heads = ChainHeads(self._cursor, dialect, known)
        self._changes = 0
        self.broken = False

    def append(
        self,
        decided: Sequence[DecisionRecord],
        happened: Sequence[LifecycleRecord],
        unrecorded: Sequence[DecisionRecord] = (),
        revisions: Sequence[ArchivedRevision] = (),
    ) -> None:
        """Writes records in one transaction, durable on return.

        Raises RecordRefused or AuditStoreError, and nothing is written then. `unrecorded` are decisions that are
        counted and not stored.
        """
        try:
            if self._sqlite:
                self._begin()
            decided = RecordBatch.of(decided)
            calls = _by_chain((ChainId(DECISIONS, call.tenant, call.node), (call, its)) for call, its in decided.calls)
            inserted = self._add_decisions(self._cursor, self._linked(calls, link_decisions))
            events = _by_chain((ChainId(LIFECYCLE, each.tenant, each.node), each) for each in happened)
            inserted += self._add_lifecycle(self._cursor, self._linked(events, link_lifecycle))
            counts = counted(decided, unrecorded)
            inserted += self._add_counts(self._cursor, counts)
            # In one order: two processes that store the same archives never deadlock.
            archives = {each.revision: (each.revision, each.tenant, *each[2:]) for each in sorted(revisions)}
            inserted += self._add_revisions(self._cursor, [*archives.values()])
            expected = len(decided) + len(happened) + len(counts) + len(archives)
            self._require_all(inserted, expected, len(calls) + len(events))
            self._pooled.commit()
            self._heads.committed()
        except BaseException as error:
            self._heads.forget()
            self._roll_back()
            if isinstance(error, (self._driver.IntegrityError, self._driver.DataError, OverflowError, UnicodeError)):
                raise RecordRefused(f"the audit store refuses a record: {error}") from error
            if isinstance(error, self._driver.Error):
                raise AuditStoreError(f"the audit store cannot write: {error}") from error
            raise

    def _begin(self) -> None:
        self._cursor.execute("BEGIN IMMEDIATE")
        self._changes = self._cursor.connection.total_changes
        if self._files is not None and not self._holds_log:
            self._files.hold_log()
            self._holds_log = True

    def _require_all(self, inserted: int, expected: int, moved: int) -> None:
        """Raises AuditStoreError if a trigger or another foreign object suppressed an insert or changed other rows.

        SQLite counts the rows that a statement inserts, and separately all changes of a connection.
        """
        if inserted == expected and self._sqlite:
            inserted += moved
            expected = self._cursor.connection.total_changes - self._changes
        if inserted != expected:
            raise AuditStoreError(
                "the audit database changes or suppresses inserts, so nothing is written: it has a trigger, a rule or a "
                "constraint that is not remit's. `remit audit verify` names it"
            )

    def _linked(self, by_chain: Iterable[tuple[ChainId, list[_Made]]], link: _Link[_Made, _Linked]) -> list[_Linked]:
        linked: list[_Linked] = []
        for chain_id, its in by_chain:
            linked += self._heads.move(chain_id, partial(link, its))
        return linked

    def _roll_back(self) -> None:
        try:
            self._pooled.rollback()
        except self._driver.Error:
            self.broken = True

    def discard(self) -> None:
        """Closes the connection and keeps it out of the pool."""
        with suppress(self._driver.Error):
            self._cursor.close()
        self._pooled.invalidate()

    def close(self) -> None:
        self._cursor.close()
        self._pooled.close()


def _by_chain(made: Iterable[tuple[ChainId, _Made]]) -> list[tuple[ChainId, list[_Made]]]:
    """Groups records by chain, in sorted order: two processes that move the same chains never deadlock."""
    by_chain: defaultdict[ChainId, list[_Made]] = defaultdict(list)
    for chain_id, each in made:
        by_chain[chain_id].append(each)
    return sorted(by_chain.items())
