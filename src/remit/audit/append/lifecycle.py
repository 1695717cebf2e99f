from functools import partial
from typing import Any

from sqlalchemy import Connection, insert

from remit.audit.append.chain_heads import ChainHeads
from remit.audit.chain.chain import LIFECYCLE, ChainId, link_lifecycle
from remit.audit.record import LifecycleRecord
from remit.audit.schema.tables import lifecycle


def write_lifecycle(connection: Connection, record: LifecycleRecord) -> None:
    """Appends a record to its chain, inside the caller's transaction."""
    dialect: Any = type(connection.dialect)
    paramstyle = "qmark" if connection.dialect.name == "sqlite" else "format"
    heads = ChainHeads(connection.connection.cursor(), dialect(paramstyle=paramstyle))
    chain = ChainId(LIFECYCLE, record.tenant, record.node)
    for row in heads.move(chain, partial(link_lifecycle, [record])):
        connection.execute(insert(lifecycle).values(row))
