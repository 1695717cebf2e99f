"""Deletes what a purge leaves over: names in counts, and policy archives that no record names any more."""

import json
from collections.abc import Iterator
from typing import Final

from sqlalchemy import Connection, Engine, delete, select, tuple_

from remit.audit.query.minute_index import known_tenants
from remit.audit.query.revision_history import BINDINGS_APPLIED, REMOVED, TAKES_OVER
from remit.audit.retention.cutoffs import Cutoffs
from remit.audit.schema.tables import (
    CALLER,
    HOUR_US,
    NAMESPACE,
    PRINCIPAL,
    REVISION,
    counts,
    decisions,
    lifecycle,
    revisions,
)

# A process stores a revision, and serves it a moment later. Only then does a record name it.
_SETTLED_US: Final = HOUR_US
_MAY_SERVE: Final = ("POLICY_CHECKED", "POLICY_UNPINNED")
"""A revision in these records may be served for a moment before another record says so."""


def forget_names(writing: Engine, cutoffs: Cutoffs, rows: int) -> Iterator[None]:
    """Deletes counts by principal, caller and namespace together with the records of their hour. The totals stay.

    Yields after each transaction, which deletes `rows` at most.
    """
    with writing.connect() as connection:
        tenants = known_tenants(connection)
    for tenant in tenants:
        before_us = cutoffs.of(tenant)
        if before_us is None:
            continue
        for dimension in (CALLER, NAMESPACE, PRINCIPAL):
            older = counts.c.tenant == tenant, counts.c.dimension == dimension, counts.c.hour_us <= before_us - HOUR_US
            some = select(*counts.primary_key).where(*older).limit(rows)
            statement = delete(counts).where(tuple_(*counts.primary_key).in_(some))
            deleted = rows
            while deleted == rows:
                with writing.begin() as connection:
                    deleted = connection.execute(statement).rowcount
                if deleted:
                    yield


def forget_revisions(reading: Engine, writing: Engine, cutoffs: Cutoffs, now_us: int) -> list[str]:
    """Deletes archived revisions that no decision names and no node served since the cutoff. Returns their tenants."""
    settled_us = now_us - _SETTLED_US
    with reading.connect() as connection:
        stored = connection.execute(select(revisions.c.revision, revisions.c.tenant, revisions.c.kept_us)).all()
        old = {
            revision
            for revision, tenant, kept_us in stored
            if kept_us < min(before_us := cutoffs.of(tenant) or 0, settled_us)
            and not _counted(connection, tenant, revision, before_us)
        }
    unnamed = old - _named(reading, old)
    if not unnamed:
        return []
    with writing.begin() as connection:
        served = _serving(connection, cutoffs, {tenant for revision, tenant, _ in stored if revision in unnamed})
        kept = {revision for revision, *_ in stored} - (unnamed - served)
        needed = _needed(connection, kept)
        gone = revisions.c.revision.in_(unnamed - served - needed), revisions.c.kept_us < settled_us
        tenants = connection.execute(select(revisions.c.tenant).where(*gone)).scalars().all()
        connection.execute(delete(revisions).where(*gone))
    return list(tenants)


def _counted(connection: Connection, tenant: str, revision: str, before_us: int) -> bool:
    """Whether a decision of this revision is in an hour that is not fully past the cutoff.

    This quick check usually avoids a long walk.
    """
    key = counts.c.tenant == tenant, counts.c.dimension == REVISION, counts.c.hour_us > before_us - HOUR_US
    some = select(counts.c.hour_us).where(*key, counts.c.value == revision).limit(1)
    return connection.execute(some).first() is not None


def _named(engine: Engine, revisions_: set[str]) -> set[str]:
    """The revisions that a decision names. Walks all decisions if any revision is named by none."""
    named: set[str] = set()
    after = b""
    while revisions_ - named:
        columns = decisions.c
        some = columns.revision.in_(revisions_ - named), columns.id > after
        with engine.connect() as connection:
            found = connection.execute(
                select(columns.id, columns.revision).where(*some).order_by(columns.id).limit(1)
            ).one_or_none()
        if found is None:
            break
        after, revision = found
        named.add(revision)
    return named


def _needed(connection: Connection, kept: set[str]) -> set[str]:
    """The revisions on which these build, and so on: an archive of rows of run time has not the files."""
    statement = select(lifecycle.c.revision, lifecycle.c.detail).where(lifecycle.c.type == BINDINGS_APPLIED)
    needs: dict[str, list[str]] = {}
    for revision, detail in connection.execute(statement):
        needs.setdefault(revision, []).extend(json.loads(detail).get("needs", ()))
    found: set[str] = set()
    waiting = [*kept]
    while waiting:
        more = {*needs.get(waiting.pop(), ())} - found
        found |= more
        waiting += more
    return found


def _serving(connection: Connection, cutoffs: Cutoffs, tenants: set[str]) -> set[str]:
    """The revisions that any node served for these tenants at the cutoff or later."""
    columns = lifecycle.c
    statement = (
        select(columns.tenant, columns.node, columns.type, columns.revision, columns.time_us)
        .where(columns.tenant.in_(tenants), columns.type.in_((*TAKES_OVER, REMOVED, *_MAY_SERVE)))
        .order_by(columns.id)
    )
    before: dict[tuple[str, str, str], str] = {}
    since: set[str] = set()
    for tenant, node, type_, revision, time_us in connection.execute(statement):
        if time_us < (cutoffs.of(tenant) or 0):
            before[tenant, node, type_ if type_ in _MAY_SERVE else ""] = "" if type_ == REMOVED else revision
        else:
            since.add(revision)
    return {*since, *before.values()}
