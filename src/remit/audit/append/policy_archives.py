from sqlalchemy import Connection, func, select

from remit.audit.schema.tables import revisions


def stored_revision(connection: Connection, tenant: str, revision: str, most_bytes: int) -> bytes | None:
    """The archive of a tenant's revision. None if it is not stored, or if it is larger than `most_bytes`."""
    statement = select(revisions.c.archive).where(
        revisions.c.revision == revision,
        revisions.c.tenant == tenant,
        func.length(revisions.c.archive) <= most_bytes,
    )
    found = connection.execute(statement).scalar()
    return None if found is None else bytes(found)
