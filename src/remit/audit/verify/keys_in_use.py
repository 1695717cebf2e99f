import json
from collections.abc import Iterator

from sqlalchemy import Connection, select

from remit.audit.record import KEY_IN_USE
from remit.audit.schema.tables import lifecycle
from remit.audit.verify.raw_rows import batches


def keys_in_use(connection: Connection) -> Iterator[tuple[str, str]]:
    """Yields the node and the key id of every record of a node that signs.

    The id is '' if the record does not name its key.
    """
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
