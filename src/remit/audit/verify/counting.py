from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Select, func, literal, select, union_all

from remit.audit.chain import DECISIONS, ChainId
from remit.audit.counts import HOUR_US, NAMESPACE, PRINCIPAL, REVISION
from remit.audit.tables import counts, decisions
from remit.audit.verify.finding import Finding, Kind
from remit.audit.verify.known import Known, moment_told
from remit.audit.verify.rows import batches


def miscounts(snapshot: Connection, tenant: str | None, known: Known) -> Iterator[Finding]:
    """The first number of each chain in table `counts` that its records do not add up to.

    Hours of which a purge took records are left out, and so are records from before there were chains.
    """
    told: set[ChainId] = set()
    for dimension in (PRINCIPAL, NAMESPACE, REVISION):
        rows = (row for batch in batches(snapshot, _differing(dimension, tenant)) for row in batch)
        for of_tenant, node, hour_us, value, effect, reason, counted, found in rows:
            chain = ChainId(DECISIONS, of_tenant, node)
            if chain in told or hour_us < known.purged_before.get(chain, 0):
                continue
            told.add(chain)
            what = f"{effect} {reason}".strip() + f" of {dimension} `{value}` in the hour from {moment_told(hour_us)}"
            yield Finding(chain, Kind.COUNTS, 0, None, f"table `counts` says {counted}, there are {found}: {what}")


def _differing(dimension: str, tenant: str | None) -> Select[Any]:
    """Rows of what is counted, how often by table `counts`, and how often by the records."""
    said = select(
        counts.c.tenant,
        counts.c.node,
        counts.c.hour_us,
        counts.c.value,
        counts.c.effect,
        counts.c.reason,
        counts.c.recorded.label("said"),
        literal(0).label("found"),
    ).where(counts.c.dimension == dimension)
    hour_us = decisions.c.time_us - decisions.c.time_us % HOUR_US
    keys = (
        decisions.c.tenant,
        decisions.c.node,
        hour_us,
        decisions.c[dimension],
        decisions.c.effect,
        decisions.c.reason,
    )
    found = select(*keys, literal(0), func.count()).where(decisions.c.seq > 0).group_by(*keys)
    if tenant is not None:
        said, found = said.where(counts.c.tenant == tenant), found.where(decisions.c.tenant == tenant)
    both = union_all(said, found).subquery()
    *which, said_sum, found_sum = both.columns
    sums = func.sum(said_sum), func.sum(found_sum)
    return select(*which, *sums).group_by(*which).having(sums[0] != sums[1]).order_by(*which)
