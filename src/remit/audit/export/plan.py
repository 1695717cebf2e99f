"""Selects the records of each chain for an export: ranges without gaps, which can be verified on their own."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from sqlalchemy import Connection, func, select

from remit.audit.chain.chain import ChainId, Head, genesis, purged_chain
from remit.audit.chain.signing import Checkpoint, Tombstone
from remit.audit.export.errors import MissingError
from remit.audit.export.proof import ExportedChain
from remit.audit.query.filter import id_range, in_time
from remit.audit.schema.tables import chains, checkpoints, tombstones
from remit.audit.verify.encoding import ENCODINGS
from remit.audit.verify.store import checkpoints_from, whose

_MOST_CHECKPOINTS: Final = 1_000


class Span(NamedTuple):
    """A time range in microseconds since the Unix epoch. None leaves an end open."""

    since_us: int | None = None
    """Inclusive."""
    until_us: int | None = None
    """Exclusive."""


EVER: Final = Span()


class _Chain(NamedTuple):
    id: ChainId
    after: Head
    head: Head
    tombstone: Tombstone | None


def plan(snapshot: Connection, tenant: str, span: Span, reach: Span) -> list[ExportedChain]:
    """The parts of the tenant's chains that hold all records of the span.

    A part extends to the next checkpoint: a signature then covers its end. The first and the last record of each part
    are searched in `reach`. Raises MissingError if one is not there.
    """
    return [part for table in ENCODINGS for part in _parts(snapshot, tenant, table, span, reach)]


def _parts(snapshot: Connection, tenant: str, table: str, span: Span, reach: Span) -> Iterator[ExportedChain]:
    its = {chain.id.node: chain for chain in _chains(snapshot, tenant, table)}
    if span == EVER:
        ends = {node: (chain.after.seq, chain.head.seq) for node, chain in its.items()}
    else:
        ends = {
            node: (first - 1, _signed_end(snapshot, its[node].id, last))
            for node, first, last in _spanned(snapshot, tenant, table, span)
            if node in its
        }
    hashes = {chain.id.node: {chain.after.seq: chain.after, chain.head.seq: chain.head} for chain in its.values()}
    wanted = {seq for node, seqs in ends.items() for seq in seqs if seq not in hashes[node]}
    columns = ENCODINGS[table].table.c
    if wanted:
        statement = select(columns.node, columns.seq, columns.hash).where(columns.seq.in_(wanted))
        statement = statement.where(*whose(tenant, columns.id.table, snapshot), *id_range(columns.id.table, *reach))
        for node, seq, hash_ in snapshot.execute(statement):
            hashes.setdefault(node, {}).setdefault(seq, Head(seq, hash_))
    for node, (after, upto) in sorted(ends.items()):
        chain, known = its[node], hashes[node]
        if after < upto:
            for seq in (after, upto):
                if seq not in known:
                    raise MissingError(
                        f"there is no record of seq {seq} in the {table} of tenant `{tenant}` by node `{node}`: "
                        "`remit audit verify` tells what is wrong"
                    )
            tombstone = chain.tombstone if after == chain.after.seq else None
            signed = tuple(_checkpoints(snapshot, chain.id, after, upto))
            yield ExportedChain(chain.id, known[after], known[upto], chain.head, tombstone, signed)


def _chains(snapshot: Connection, tenant: str, table: str) -> Iterator[_Chain]:
    statement = select(chains).where(chains.c.of_table == table, chains.c.tenant == tenant)
    for of_table, of_tenant, node, seq, hash_ in snapshot.execute(statement):
        chain = ChainId(of_table, of_tenant, node)
        tombstone = _tombstone(snapshot, chain) if chain == purged_chain(of_tenant, node) else None
        yield _Chain(chain, genesis(chain) if tombstone is None else tombstone.head, Head(seq, hash_), tombstone)


def _tombstone(snapshot: Connection, chain: ChainId) -> Tombstone | None:
    its = (tombstones.c.tenant == chain.tenant, tombstones.c.node == chain.node)
    newest = select(tombstones).where(*its).order_by(tombstones.c.seq.desc()).limit(1)
    found = snapshot.execute(newest).one_or_none()
    return None if found is None else Tombstone._make(found)


def _spanned(snapshot: Connection, tenant: str, table: str, span: Span) -> list[tuple[str, int, int]]:
    """The first and the last seq in the span, by node."""
    its = ENCODINGS[table].table
    statement = select(its.c.node, func.min(its.c.seq), func.max(its.c.seq)).group_by(its.c.node)
    statement = statement.where(*whose(tenant, its, snapshot), *in_time(its, *span), its.c.seq > 0)
    return [(node, first, last) for node, first, last in snapshot.execute(statement)]


def _signed_end(snapshot: Connection, chain: ChainId, last: int) -> int:
    following = checkpoints_from(snapshot, chain, last, 1)
    return following[0].seq if following else last


def _checkpoints(snapshot: Connection, chain: ChainId, after: int, upto: int) -> list[Checkpoint]:
    """The checkpoints of a part, thinned out if there are many.

    The last one covers all records before it. The others show where a change happened.
    """
    columns = checkpoints.c
    its = (columns.of_table == chain.table, columns.tenant == chain.tenant, columns.node == chain.node)
    statement = select(checkpoints).where(*its, columns.seq > after, columns.seq <= upto).order_by(columns.seq)
    thinned: list[Checkpoint] = []
    for row in snapshot.execute(statement):
        if len(thinned) == _MOST_CHECKPOINTS:
            del thinned[::2]
        thinned.append(Checkpoint._make(row))
    return thinned
