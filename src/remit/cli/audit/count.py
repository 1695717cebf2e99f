import json
from itertools import islice
from typing import Annotated, Any, Final

import typer
from rich.box import SIMPLE
from rich.table import Column, Table

from remit.audit.query.aggregate import TIMES, Grouping
from remit.audit.query.filter import DecisionFilter
from remit.audit.query.reader import AuditReader
from remit.cli.audit.filter_options import filter_to, selects, warn_unknown
from remit.cli.audit.options import time_text
from remit.cli.audit.source import Source, reads
from remit.cli.common.output import err, out
from remit.client import Client
from remit.rpc.encode_records import count_to
from remit.v1.audit_service_pb2 import RecordCount

_PAGE: Final = 1_000


@reads
@selects
def count(
    by: Annotated[
        list[Grouping] | None,
        typer.Option(
            "--by", metavar="GROUP", help=f"{', '.join(Grouping)}; several count each combination.", show_default=False
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(min=1, max=_PAGE, metavar="N", help="The N groups with the most decisions.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The most groups to print.")] = 1_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
    *,
    where: DecisionFilter,
    source: Source,
) -> None:
    """Count decisions, in whole hours, without reading a record.

    A query names at most one of principal, namespace, revision, caller and question, as filter or group.

    Example: `remit audit count --tenant acme --effect deny --by principal --top 10 --since 7d`
    """
    groups = by or []

    def here(store: AuditReader) -> list[RecordCount]:
        found = store.counts(where, groups, limit=top or limit, most_first=top is not None)
        return [count_to(each, groups) for each in found]

    def there(client: Client) -> list[RecordCount]:
        size = min(top or limit, _PAGE)
        found = client.count_records(filter_to(where), groups, most_first=top is not None, page_size=size)
        return list(islice(found, limit))

    counts = source.answer(here, there)
    if as_json:
        for each in counts:
            sums = {"recorded": each.recorded, "unrecorded": each.unrecorded}
            typer.echo(json.dumps({**{group.value: _group_text(each, group) for group in groups}, **sums}))
    elif counts:
        table = Table(*groups, *(Column(name, justify="right") for name in ("recorded", "unrecorded")), box=SIMPLE)
        for each in counts:
            table.add_row(*(_group_text(each, group) for group in groups), str(each.recorded), str(each.unrecorded))
        out.print(table)
    else:
        err.print("no decision was counted")
    if not any(each.recorded + each.unrecorded for each in counts):
        warn_unknown(where, source)
    if top is None and len(counts) == limit:
        err.print(f"there may be more than {limit} groups: --limit shows more")


def _group_text(count: RecordCount, group: Grouping) -> str:
    if group not in TIMES:
        value: Any = getattr(count, group.value)
        return str(value)
    return time_text(count.from_us)[: len("2026-11-24") if group is Grouping.DAY else len("2026-11-24T19:00")]
