from sqlalchemy import Connection, func, select, update

from remit.audit.append.bulk_insert import insert_statement
from remit.audit.schema.tables import revisions


def store_revision(connection: Connection, tenant: str, revision: str, kept_us: int, archive: bytes) -> None:
    """Stores an archive. If it is stored already, renews `kept_us`: a purge then keeps it until a record names it."""
    again = update(revisions).where(revisions.c.revision == revision).values(kept_us=kept_us)
    if not connection.execute(again).rowcount:
        row = {"revision": revision, "tenant": tenant, "kept_us": kept_us, "archive": archive}
        # Another process may write the same archive.
        connection.execute(insert_statement(revisions, connection.dialect).on_conflict_do_nothing(), row)


def stored_revision(connection: Connection, tenant: str, revision: str, most_bytes: int) -> bytes | None:
    """The archive of a tenant's revision. None if it is not stored, or if it is larger than `most_bytes`."""
    statement = select(revisions.c.archive).where(
        revisions.c.revision == revision,
        revisions.c.tenant == tenant,
        func.length(revisions.c.archive) <= most_bytes,
    )
    found = connection.execute(statement).scalar()
    return None if found is None else bytes(found)
