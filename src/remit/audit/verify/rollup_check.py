"""Compares table `counts` with the records."""

from collections.abc import Iterator
from math import inf
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    Select,
    cast,
    distinct,
    func,
    literal_column,
    select,
    union_all,
)

from remit.audit.chain.chain import DECISIONS, ChainId
from remit.audit.ids import id_time_ms
from remit.audit.schema.tables import (
    ALL,
    CALLER,
    HOUR_US,
    MINUTE_US,
    NAMESPACE,
    PRINCIPAL,
    QUESTION,
    REVISION,
    counts,
    decisions,
)
from remit.audit.verify.expectations import Expectations, format_time
from remit.audit.verify.finding import AuditFinding, FindingKind
from remit.audit.verify.raw_rows import batches

_DIMENSIONS: Final = (ALL, QUESTION, REVISION, CALLER, NAMESPACE, PRINCIPAL)


def miscounts(snapshot: Connection, tenant: str | None, known: Expectations) -> Iterator[AuditFinding]:
    """Yields the first row of each chain in table `counts` that differs from the sum of its records.

    It skips hours in which a purge deleted records, and hours before the first record that has a place: a purge of records
    without one leaves no tombstone.
    """
    reported: set[ChainId] = set()
    oldest = [walk.oldest.id for walk in known.walks.values() if walk.oldest is not None]
    # A column of SQLite may hold a value of any type.
    began_us = min((id_time_ms(each) * 1_000 for each in oldest if isinstance(each, bytes)), default=inf)
    for dimension in _DIMENSIONS:
        rows = (row for batch in batches(snapshot, _differing(dimension, tenant)) for row in batch)
        for of_tenant, node, hour_us, value, effect, reason, stated, found in rows:
            chain = ChainId(DECISIONS, of_tenant, node)
            if chain in reported or hour_us < known.purged_before.get(chain, 0) or hour_us + HOUR_US <= began_us:
                continue
            reported.add(chain)
            numbers = (
                f"table `counts` says {stated}, there are {found}"
                if stated != found
                else "table `counts` names other minutes"
            )
            which = f"{dimension} `{value}`" if dimension else "all"
            what = f"{effect} {reason}".strip() + f" of {which} in the hour from {format_time(hour_us)}"
            yield AuditFinding(chain, FindingKind.COUNTS, 0, None, f"{numbers}: {what}")


def _differing(dimension: str, tenant: str | None) -> Select[Any]:
    """Selects what is counted, with both numbers, if table `counts` and the records differ in number or minutes."""
    none, hour, minute = (literal_column(str(number), BigInteger) for number in (0, HOUR_US, MINUTE_US))
    its = counts.c
    stated = _select(
        its.tenant, its.node, its.hour_us, its.value, its.effect, its.reason, its.recorded, none, its.minutes, none
    )
    stated = stated.where(its.dimension == dimension)
    its = decisions.c
    into_hour = its.time_us % hour
    value = its[dimension] if dimension else literal_column("''")
    keys = (its.tenant, its.node, its.time_us - into_hour, value, its.effect, its.reason)
    # Different bits add up to all bits that are set.
    bit = cast(1, BigInteger).op("<<")(cast(into_hour // minute, Integer))
    found = _select(*keys, none, func.count(), none, func.sum(distinct(bit)))
    # PostgreSQL cannot group by a constant.
    found = found.group_by(*(key for key in keys if dimension or key is not value))
    if tenant is not None:
        stated, found = stated.where(counts.c.tenant == tenant), found.where(its.tenant == tenant)
    *which, stated_sum, found_sum, stated_minutes, found_minutes = union_all(stated, found).subquery().columns
    sums = [func.sum(each) for each in (stated_sum, found_sum, stated_minutes, found_minutes)]
    differing = (sums[0] != sums[1]) | (sums[2] != sums[3])
    return select(*which, *sums[:2]).group_by(*which).having(differing).order_by(*which)


def _select(*columns: ColumnElement[Any]) -> Select[Any]:
    """Labels the columns: both selects of a union then have the same names."""
    return select(*(column.label(f"column_{number}") for number, column in enumerate(columns)))
