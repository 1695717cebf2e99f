import json
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, insert, select

from remit.audit.chain import LIFECYCLE, ChainId, link_lifecycle
from remit.audit.heads import Heads
from remit.audit.record import LifecycleRecord
from remit.audit.tables import lifecycle
from remit.audit.verify.rows import batches

KEY_IN_USE: Final = "KEY_IN_USE"
AUDIT_READ: Final = "AUDIT_READ"


def keys_in_use(connection: Connection) -> Iterator[tuple[str, str]]:
    """Each node that was recorded to sign, with the id of its key, once for each time; '' where the record does not say
    which key."""
    columns = lifecycle.c
    statement = select(columns.node, columns.detail).where(columns.tenant == "", columns.type == KEY_IN_USE)
    for batch in batches(connection, statement.order_by(columns.id)):
        for node, detail in batch:
            try:
                key_id = str(json.loads(detail)["key_id"])
            except (KeyError, TypeError, ValueError):
                yield node, ""
            else:
                if key_id:
                    yield node, key_id


def write_lifecycle(connection: Connection, record: LifecycleRecord) -> None:
    """Puts a record at the end of its chain, inside the caller's transaction."""
    dialect: Any = type(connection.dialect)
    paramstyle = "qmark" if connection.dialect.name == "sqlite" else "format"
    heads = Heads(connection.connection.cursor(), dialect(paramstyle=paramstyle))
    chain = ChainId(LIFECYCLE, record.tenant, record.node)
    for row in heads.move(chain, partial(link_lifecycle, [record])):
        connection.execute(insert(lifecycle).values(row))
