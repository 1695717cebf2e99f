import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter
from typing import Final, NamedTuple

from sqlalchemy import Connection, Engine, Table, bindparam, delete, exists, func, literal_column, select
from sqlalchemy.exc import SQLAlchemyError

from remit.audit.append.bulk_insert import insert_statement
from remit.audit.append.lifecycle import write_lifecycle
from remit.audit.chain.chain import READS, purged_chain
from remit.audit.chain.signing import SigningKey, Tombstone, signed
from remit.audit.ids import DecisionIds, id_time_ms, last_id_at
from remit.audit.query.filter import CLOCK_SLACK_US
from remit.audit.record import BY_CALLERS, LifecycleRecord
from remit.audit.retention.cutoffs import Cutoffs
from remit.audit.retention.orphans import forget_names, forget_revisions
from remit.audit.retention.resequencer import DecisionChain, PurgedRecord, Resequencer
from remit.audit.schema.tables import checkpoints, decisions, lifecycle, tombstones

# SQLite has one writer at a time, and a waiting writer retries only every few milliseconds. Between transactions the
# purge therefore waits at least as long as each transaction took.
_LEAST_REST_S: Final = 0.01
# Any number works if every process that purges uses the same.
_POSTGRESQL_LOCK: Final = 0x7075726765
_NOTHING: Final[Mapping[str, int]] = {}


class PurgePacing(NamedTuple):
    """The share of the store's time that a purge uses."""

    rows: int = 500
    """Rows per transaction."""
    share: float = 0.5
    """The share of time, above 0 and at most 0.5. The rest is for other writers."""


BY_HAND: Final = PurgePacing()


class Purged(NamedTuple):
    deleted: int = 0
    staying: int = 0
    """Older records that stay because they follow a newer or a missing record in their chain."""
    revisions: int = 0
    """Archived revisions that no record names any more, deleted with the records."""
    reads: int = 0


@dataclass(slots=True, kw_only=True)
class Purge:
    """Deletes the decisions and read records older than a cutoff, a few per transaction, in the order of their chains.

    After each transaction the deleted records are a whole prefix of each chain, and its tombstone has moved. Whatever
    stops the purge, the tombstones show exactly what is deleted. A purge writes one record with its first deletion, and
    another at its end.
    """

    reading: Engine
    writing: Engine
    ids: DecisionIds
    cutoffs: Cutoffs
    node: str = ""
    key: SigningKey | None = None
    pacing: PurgePacing = BY_HAND
    by_hand: bool = True
    """Whether a record is written even if there was nothing to delete."""
    progress: Callable[[int], None] | None = None
    _deleted: Counter[str] = field(default_factory=Counter)
    """Decisions, by the rule of the cutoffs."""
    _reads: Counter[str] = field(default_factory=Counter)
    _staying: Sequence[PurgedRecord] = ()
    _revisions: Counter[str] = field(default_factory=Counter)
    _time_us: int = 0
    _rested: float = 0.0

    def run(self) -> Purged:
        self._time_us, _ = self.ids.stamp(0)
        self._rested = time.monotonic()
        try:
            while self._round():
                pass
            for _ in forget_names(self.writing, self._names_before(), self.pacing.rows):
                self._pause()
            gone = forget_revisions(self.reading, self.writing, self.cutoffs, self._time_us)
            self._revisions = Counter(map(self.cutoffs.rule, gone))
        except BaseException:
            with suppress(SQLAlchemyError):
                self._record_end()
            raise
        self._record_end()
        return Purged(self._deleted.total(), len(self._staying), self._revisions.total(), self._reads.total())

    def _round(self) -> bool:
        """Walks once over all older records. True if another walk will find more."""
        resequencer = Resequencer(self._gone())
        before = self._total
        batch: list[PurgedRecord] = []
        for record in chain(self._older(decisions), self._older(lifecycle)):
            batch += resequencer.receive(record)
            while len(batch) >= self.pacing.rows:
                self._take(batch[: self.pacing.rows])
                del batch[: self.pacing.rows]
        if batch:
            self._take(batch)
        self._staying = resequencer.waiting
        return bool(resequencer.overlooked) and self._total > before

    @property
    def _total(self) -> int:
        return self._deleted.total() + self._reads.total()

    def _names_before(self) -> Cutoffs:
        """The cutoffs for counts: a record that stays keeps the counts of its hour."""
        oldest: dict[str, int] = {}
        for each in self._staying:
            tenant, before_us = each.whose.tenant, id_time_ms(each.id) * 1_000 - CLOCK_SLACK_US
            oldest[tenant] = min(before_us, oldest.get(tenant, self.cutoffs.of(tenant) or 0))
        return Cutoffs(others=self.cutoffs.others, of_tenant={**self.cutoffs.of_tenant, **oldest})

    def _gone(self) -> dict[DecisionChain, int]:
        columns = tombstones.c
        statement = select(columns.tenant, columns.node, func.max(columns.seq)).group_by(columns.tenant, columns.node)
        with self.reading.connect() as connection:
            return {DecisionChain(tenant, node): seq for tenant, node, seq in connection.execute(statement)}

    def _older(self, its: Table) -> Iterator[PurgedRecord]:
        columns = its.c
        # The walk follows the primary key. SQLite would otherwise sort a tenant's whole index.
        sqlite = self.reading.dialect.name == "sqlite"
        whose = literal_column(f"+{its.name}.tenant", columns.tenant.type) if sqlite else columns.tenant
        statement = (
            select(columns.id, columns.tenant, columns.node, columns.seq, columns.hash)
            .where(self.cutoffs.older(whose, columns.time_us))
            .where(columns.id <= last_id_at(self.cutoffs.latest_us + CLOCK_SLACK_US))
            .order_by(columns.id)
            .limit(self.pacing.rows)
        )
        if its is lifecycle:
            statement = statement.where(columns.type.in_(BY_CALLERS), columns.node.endswith(READS, autoescape=True))
        after = b""
        while True:
            with self.reading.connect() as connection:
                page = connection.execute(statement.where(columns.id > after)).all()
            for id_, tenant, node, seq, hash_ in page:
                if purged_chain(tenant, node).table == its.name:
                    yield PurgedRecord(id_, DecisionChain(tenant, node), seq, hash_)
            if len(page) < self.pacing.rows:
                return
            after = page[-1].id

    def _take(self, batch: Sequence[PurgedRecord]) -> None:
        ids_of: defaultdict[tuple[str, bool], list[bytes]] = defaultdict(list)
        for each in batch:
            ids_of[self.cutoffs.rule(each.whose.tenant), each.whose.node.endswith(READS)].append(each.id)
        gone: Counter[str] = Counter()
        reads: Counter[str] = Counter()
        with self.writing.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(_POSTGRESQL_LOCK)))
            for (rule, of_reads), ids in ids_of.items():
                its, counter = (lifecycle, reads) if of_reads else (decisions, gone)
                counter[rule] = connection.execute(delete(its).where(its.c.id.in_(ids))).rowcount
            self._move_tombstones(connection, batch)
            for rule in sorted({*gone, *reads} - {*self._deleted, *self._reads}):
                write_lifecycle(connection, self._record("PURGE_STARTED", rule))
        self._deleted.update(gone)
        self._reads.update(reads)
        self._pause()

    def _move_tombstones(self, connection: Connection, batch: Iterable[PurgedRecord]) -> None:
        """Moves each chain's tombstone to the last of these records, unless it stands further already."""
        last = {each.whose: each for each in sorted(batch, key=attrgetter("seq")) if each.seq}.values()
        cutoff = self.cutoffs.of
        moved = [
            Tombstone(*each.whose, each.seq, each.hash, cutoff(each.whose.tenant) or 0, self._time_us) for each in last
        ]
        if self.key is not None:
            moved = [signed(each, self.key) for each in moved]
        if moved:
            statement = insert_statement(tombstones, connection.dialect).on_conflict_do_nothing()
            connection.execute(statement, [each._asdict() for each in moved])
            later = tombstones.alias()
            same = later.c.tenant == tombstones.c.tenant, later.c.node == tombstones.c.node
            behind = exists().where(*same, later.c.seq > tombstones.c.seq)
            connection.execute(delete(tombstones).where(behind))
            # No record is left that an earlier checkpoint could be compared with.
            its = checkpoints.c.tenant == bindparam("its_tenant"), checkpoints.c.node == bindparam("its_node")
            signed_before = (
                checkpoints.c.of_table == bindparam("its_table"),
                *its,
                checkpoints.c.seq < bindparam("its_seq"),
            )
            rows = [
                {"its_table": table, "its_tenant": tenant, "its_node": node, "its_seq": each.seq}
                for each in moved
                for table, tenant, node in (each.chain,)
            ]
            connection.execute(delete(checkpoints).where(*signed_before), rows)

    def _pause(self) -> None:
        """Reports progress and waits, after each transaction."""
        worked_s = time.monotonic() - self._rested
        if self.progress is not None:
            self.progress(self._total)
        time.sleep(max(worked_s * (1 / self.pacing.share - 1), _LEAST_REST_S))
        self._rested = time.monotonic()

    def _record_end(self) -> None:
        rules = {*self.cutoffs.rules} if self.by_hand else {*self._deleted, *self._reads, *self._revisions}
        staying = Counter(self.cutoffs.rule(each.whose.tenant) for each in self._staying)
        with self.writing.begin() as connection:
            for rule in sorted(rules):
                found = {"deleted": self._deleted[rule]}
                more = {"staying": staying[rule], "revisions": self._revisions[rule], "reads": self._reads[rule]}
                found |= {name: count for name, count in more.items() if count}
                write_lifecycle(connection, self._record("PURGED", rule, found))

    def _record(self, type_: str, rule: str, found: Mapping[str, int] = _NOTHING) -> LifecycleRecord:
        asked: dict[str, object] = {"before_us": self.cutoffs.of(rule), "tenant": rule or None}
        if not rule and self.cutoffs.of_tenant:
            asked["except"] = sorted(self.cutoffs.of_tenant)
        detail = json.dumps({**asked, **found}, separators=(",", ":"))
        time_us, (id_,) = self.ids.stamp()
        return LifecycleRecord(id_, time_us, self.node, type_, rule, "", detail)
