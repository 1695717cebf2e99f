"""What a purge leaves of the records that it took: names in counts, and policies that no record names any more."""

from collections.abc import Iterator
from typing import Final

from sqlalchemy import Connection, Engine, delete, select, tuple_

from remit.audit.counts import HOUR_US, NAMESPACE, PRINCIPAL, REVISION
from remit.audit.cutoff import Cutoffs
from remit.audit.tables import counts, decisions, lifecycle, revisions

# Who keeps a revision serves it a moment later, and only then is there a record that names it.
_SETTLED_US: Final = HOUR_US
# The newest of each of these tells what a node serves, or may serve without another record.
_SERVING: Final = ("POLICY_LOADED", "POLICY_CHECKED", "POLICY_RESTORED", "POLICY_PINNED", "POLICY_UNPINNED")


def forget_names(writing: Engine, cutoffs: Cutoffs, rows: int) -> Iterator[None]:
    """Counts by principal and namespace go with the records of their hour; how many there were in all stays.

    Yields after each transaction, which deletes `rows` at most.
    """
    for tenant in _tenants(writing):
        before_us = cutoffs.of(tenant)
        if before_us is None:
            continue
        for dimension in (NAMESPACE, PRINCIPAL):
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
    """Deletes the policies that no decision names and no node serves; of which tenant each of them was."""
    settled_us = now_us - _SETTLED_US
    with reading.connect() as connection:
        kept = connection.execute(select(revisions.c.revision, revisions.c.tenant, revisions.c.kept_us)).all()
        old = {
            revision
            for revision, tenant, kept_us in kept
            if kept_us < min(before_us := cutoffs.of(tenant) or 0, settled_us)
            and not _counted(connection, tenant, revision, before_us)
        }
    unnamed = old - _named(reading, old)
    if not unnamed:
        return []
    with writing.begin() as connection:
        gone = revisions.c.revision.in_(unnamed - _serving(connection)), revisions.c.kept_us < settled_us
        tenants = connection.execute(select(revisions.c.tenant).where(*gone)).scalars().all()
        connection.execute(delete(revisions).where(*gone))
    return list(tenants)


def _tenants(engine: Engine) -> Iterator[str]:
    """Those that have counts, each found by one look at the primary key."""
    first = select(counts.c.tenant).order_by(counts.c.tenant).limit(1)
    statement = first
    while True:
        with engine.connect() as connection:
            tenant = connection.execute(statement).scalar_one_or_none()
        if tenant is None:
            return
        yield tenant
        statement = first.where(counts.c.tenant > tenant)


def _counted(connection: Connection, tenant: str, revision: str, before_us: int) -> bool:
    """Whether there are decisions of this revision in an hour of which not all may go: a quick look that mostly spares a
    long one."""
    key = counts.c.tenant == tenant, counts.c.dimension == REVISION, counts.c.hour_us > before_us - HOUR_US
    some = select(counts.c.hour_us).where(*key, counts.c.value == revision).limit(1)
    return connection.execute(some).first() is not None


def _named(engine: Engine, revisions_: set[str]) -> set[str]:
    """Those that a decision names. Walks all decisions where one is named by none."""
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


def _serving(connection: Connection) -> set[str]:
    newest: dict[tuple[str, str, str], str] = {}
    columns = lifecycle.c
    statement = select(columns.tenant, columns.node, columns.type, columns.revision).where(columns.type.in_(_SERVING))
    for tenant, node, type_, revision in connection.execute(statement.order_by(columns.id)):
        newest[tenant, node, type_] = revision
    return {*newest.values()}
