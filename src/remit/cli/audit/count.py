from collections.abc import Sequence
from itertools import islice
from typing import Annotated, Any, Final

import typer

from remit.audit.query.aggregate import TIMES, Grouping
from remit.audit.query.filter import DecisionFilter
from remit.audit.query.reader import AuditReader
from remit.cli.audit.filter_options import filter_to, selects, warn_unknown
from remit.cli.audit.options import time_text
from remit.cli.audit.source import Source, reads
from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.output import err
from remit.cli.common.table import print_table
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
    as_json: JsonOption = False,
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
        print_json({"counts": [_plain(each, groups) for each in counts]})
    elif counts:
        rows = [
            (*(_group_text(each, group) for group in groups), str(each.recorded), str(each.unrecorded))
            for each in counts
        ]
        sums = ("recorded", "unrecorded")
        print_table((*groups, *sums), rows, numbers=sums)
    else:
        err.print("no decision was counted")
    if not any(each.recorded + each.unrecorded for each in counts):
        warn_unknown(where, source)
    if top is None and len(counts) == limit:
        err.print(f"there may be more than {limit} groups: --limit shows more")


def _plain(count: RecordCount, groups: Sequence[Grouping]) -> dict[str, Any]:
    def value(group: Grouping) -> Any:
        return time_text(count.from_us) if group in TIMES else getattr(count, group.value)

    named = {group.value: value(group) for group in groups}
    return {**named, "recorded": count.recorded, "unrecorded": count.unrecorded}


def _group_text(count: RecordCount, group: Grouping) -> str:
    if group not in TIMES:
        value: Any = getattr(count, group.value)
        return str(value)
    return time_text(count.from_us)[: len("2026-11-24") if group is Grouping.DAY else len("2026-11-24T19:00")]
