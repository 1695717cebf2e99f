"""Records as rows of a table."""

from collections.abc import Iterable
from typing import Final

from remit.console.cells import Cell, code, effect, plain, tenant_link, time
from remit.console.pages.ask.rows import place_text_cell
from remit.v1 import audit_service_pb2 as messages

COLUMNS: Final = (
    "time",
    "effect",
    "question",
    "principal",
    "action",
    "kind",
    "namespace",
    "id",
    "reason",
    "rule",
    "caller",
)


def record_rows(tenant: str, records: Iterable[messages.Record]) -> list[list[Cell]]:
    return [
        [
            time(each.time_us, f"{tenant_link(tenant, 'decisions')}/{each.id}"),
            effect(each.effect),
            plain(each.question),
            code(each.principal),
            code(each.action),
            code(each.kind),
            code(each.namespace),
            code(each.resource_id),
            plain(each.reason),
            place_text_cell(each.rule, tenant, each.revision),
            code(each.caller),
        ]
        for each in records
    ]
