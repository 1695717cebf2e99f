"""The heads of chains, with their last checkpoint, and the last verification that left a record."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, func, select, tuple_

from remit.audit.chain.chain import ChainId, Head
from remit.audit.record import AUDIT_VERIFIED
from remit.audit.schema.tables import chains, checkpoints, lifecycle


class SignedHead(NamedTuple):
    seq: int
    time_us: int
    key_id: str


class ChainHead(NamedTuple):
    chain: ChainId
    head: Head
    checkpoint: SignedHead | None
    """The last one; None if none was made."""


class LastVerification(NamedTuple):
    """What the last record AUDIT_VERIFIED says."""

    time_us: int
    whole: bool
    tenant: str
    """'' if the whole store was verified."""
    keys: tuple[str, ...]
    upto: Mapping[ChainId, int]
    """Every place of a chain up to this one had its record."""
    findings: Mapping[ChainId, str]
    """The first finding of each chain that has one."""


def chain_heads(connection: Connection, tenant: str | None, after: ChainId | None, limit: int) -> list[ChainHead]:
    """A page of heads in the order of table, tenant and node."""
    columns = (chains.c.of_table, chains.c.tenant, chains.c.node)
    conditions = [] if tenant is None else [chains.c.tenant == tenant]
    if after is not None:
        conditions.append(tuple_(*columns) > tuple_(*after))
    statement = select(*columns, chains.c.seq, chains.c.hash).where(*conditions).order_by(*columns).limit(limit)
    found = [(ChainId(*row[:3]), Head(row[3], bytes(row[4]))) for row in connection.execute(statement)]
    return [ChainHead(chain, head, _last_checkpoint(connection, chain)) for chain, head in found]


def last_verification(connection: Connection, tenant: str) -> LastVerification | None:
    """The newest record of a verification of this tenant, or of the whole store. None if there is none."""
    columns = lifecycle.c
    statement = select(columns.time_us, columns.tenant, columns.detail).where(
        columns.type == AUDIT_VERIFIED, columns.tenant.in_({"", tenant})
    )
    row = connection.execute(statement.order_by(columns.id.desc()).limit(1)).one_or_none()
    if row is None:
        return None
    detail: Mapping[str, Any] = json.loads(row.detail)
    return LastVerification(
        row.time_us,
        bool(detail["whole"]),
        row.tenant,
        tuple(detail["keys"]),
        {ChainId(*chain): upto for *chain, upto in detail["upto"]},
        {ChainId(*chain): text for *chain, text in reversed(detail["findings"])},
    )


def _last_checkpoint(connection: Connection, chain: ChainId) -> SignedHead | None:
    columns = checkpoints.c
    its = and_(columns.of_table == chain.table, columns.tenant == chain.tenant, columns.node == chain.node)
    last = select(func.max(columns.seq)).where(its).scalar_subquery()
    statement = select(columns.seq, columns.time_us, columns.key_id).where(its, columns.seq == last).limit(1)
    row = connection.execute(statement).one_or_none()
    return None if row is None else SignedHead(*row)


def verification_detail(
    whole: bool, keys: Sequence[str], upto: Mapping[ChainId, int], findings: Sequence[tuple[ChainId, str]]
) -> dict[str, Any]:
    """What a record AUDIT_VERIFIED keeps, as `last_verification` reads it."""
    return {
        "whole": whole,
        "keys": list(keys),
        "upto": [[*chain, seq] for chain, seq in sorted(upto.items())],
        "findings": [[*chain, text[:_TEXT]] for chain, text in findings[:_FINDINGS]],
    }


_FINDINGS = 100
_TEXT = 512
"""Limits of what a record keeps of findings: a broken store may have millions."""
