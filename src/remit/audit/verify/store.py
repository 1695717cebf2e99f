from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Table, select

from remit.audit.chain.chain import DECISIONS, LIFECYCLE, ChainId, Head
from remit.audit.chain.signing import Checkpoint, PublicKey, Tombstone
from remit.audit.query.filter import DecisionFilter, walking_ids
from remit.audit.schema.migrate import planted
from remit.audit.schema.tables import chains, checkpoints, decisions, lifecycle, tombstones
from remit.audit.verify.claims import PAGE
from remit.audit.verify.expectations import Expectations
from remit.audit.verify.finding import AuditFinding, FindingKind, VerificationReport
from remit.audit.verify.keyring import Keyring
from remit.audit.verify.keys_in_use import keys_in_use
from remit.audit.verify.raw_rows import batches
from remit.audit.verify.report import UNSIGNED_US, reported
from remit.audit.verify.rollup_check import miscounts
from remit.audit.verify.walk import Meter, Progress, walk

_NO_CHAIN: Final = ChainId("", "", "")
"""The chain of a finding about the whole store."""


def verify_store(
    snapshots: Sequence[Connection],
    *,
    tenant: str | None = None,
    keys: Iterable[PublicKey] = (),
    against: Iterable[tuple[Checkpoint, str]] = (),
    unsigned_us: int = UNSIGNED_US,
    at_us: int | None = None,
    counts: bool = False,
    progress: Progress | None = None,
) -> VerificationReport:
    """Verifies every record of a store, or of a tenant, in one snapshot. Each of several stores has its own chains.

    `against` are heads kept elsewhere, each with its source. With keys, a record may have no signature until it is
    `unsigned_us` old at `at_us` (None: now). `counts` also compares table `counts` with the records. Memory is bounded
    by the number of chains.
    """

    def page(chain: ChainId, seq: int) -> list[Checkpoint]:
        pages = (checkpoints_from(snapshot, chain, seq) for snapshot in snapshots)
        return next((page for page in pages if page), [])

    known = Expectations(Keyring(keys), page)
    known.nodes_with_keys = {node for snapshot in snapshots for node, _ in keys_in_use(snapshot)}
    meter = Meter(sum(_read_known(snapshot, known, tenant) for snapshot in snapshots), progress)
    known.add_kept_elsewhere(each for each in against if tenant in (None, each[0].tenant))
    for snapshot in snapshots:
        for table, its in ((DECISIONS, decisions), (LIFECYCLE, lifecycle)):
            statement = select(its).where(*whose(tenant, its, snapshot)).order_by(its.c.id)
            walk(table, batches(snapshot, statement), known.walk_of, meter)
    wrong = (each for snapshot in snapshots for each in _planted(snapshot))
    miscounted = (each for snapshot in snapshots for each in miscounts(snapshot, tenant, known)) if counts else ()
    return reported(known, unsigned_us, at_us, chain(wrong, miscounted))


def _planted(snapshot: Connection) -> list[AuditFinding]:
    differences = (f"{each}: remit's schema is another one" for each in planted(snapshot))
    return [AuditFinding(_NO_CHAIN, FindingKind.SCHEMA, 0, None, each) for each in differences]


def _read_known(snapshot: Connection, known: Expectations, tenant: str | None) -> int:
    """Reads all statements about chains. Returns the approximate number of records that must exist."""
    expected = 0
    for row in _rows(snapshot, tombstones, tenant):
        known.add_tombstone(Tombstone._make(row))
    for table, of_tenant, node, seq, hash_ in _rows(snapshot, chains, tenant):
        chain = ChainId(table, of_tenant, node)
        expected += known.add_head(chain, Head(seq, hash_))
    previous: Checkpoint | None = None
    for row in _rows(snapshot, checkpoints, tenant):
        checkpoint = Checkpoint._make(row)
        if previous is not None and (previous.chain, previous.seq) == (checkpoint.chain, checkpoint.previous_seq):
            before: Head | None = previous.head
        else:
            from_there = checkpoints_from(snapshot, checkpoint.chain, checkpoint.previous_seq, 1)
            before = next((each.head for each in from_there if each.seq == checkpoint.previous_seq), None)
        known.add_checkpoint(checkpoint, before)
        previous = checkpoint
    return expected


def _rows(snapshot: Connection, table: Table, tenant: str | None) -> Iterator[Any]:
    statement = select(table).order_by(*table.primary_key)
    if tenant is not None:
        statement = statement.where(table.c.tenant == tenant)
    return (row for batch in batches(snapshot, statement) for row in batch)


def whose(tenant: str | None, table: Table, snapshot: Connection) -> list[ColumnElement[bool]]:
    """Conditions for a walk over a table in the order of ids."""
    if table is lifecycle:
        return [] if tenant is None else [lifecycle.c.tenant == tenant]
    column = walking_ids if snapshot.dialect.name == "sqlite" else decisions.c.__getitem__
    return DecisionFilter(tenant=tenant).conditions(column=column)


def checkpoints_from(snapshot: Connection, chain: ChainId, seq: int, limit: int = PAGE) -> list[Checkpoint]:
    columns = checkpoints.c
    its = (columns.of_table == chain.table, columns.tenant == chain.tenant, columns.node == chain.node)
    statement = select(checkpoints).where(*its, columns.seq >= seq).order_by(columns.seq).limit(limit)
    return [Checkpoint._make(row) for batch in batches(snapshot, statement) for row in batch]
