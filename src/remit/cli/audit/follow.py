import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Annotated, Final

import typer

from remit.audit.ids import first_id_at, format_id
from remit.audit.query.change_feed import ChangeFeed
from remit.audit.query.filter import CLOCK_SLACK_US, DecisionFilter
from remit.audit.query.reader import AuditReader
from remit.audit.record import DecisionRecord
from remit.cli.audit.filter_options import filter_to, selects
from remit.cli.audit.format_records import decision_line, record_json
from remit.cli.audit.options import decision_id_from
from remit.cli.audit.source import Source, reads
from remit.cli.common.as_json import JsonLinesOption, print_json_line
from remit.cli.common.output import out
from remit.client import Client
from remit.rpc.encode_records import record_from

_BATCH: Final = 200
_LOOK_EVERY_S: Final = 0.2


@reads
@selects
def follow(
    after: Annotated[
        bytes | None,
        typer.Option(parser=decision_id_from, metavar="ID", help="Start after this record.", show_default=False),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after this many records.", show_default=False)] = None,
    as_json: JsonLinesOption = False,
    *,
    where: DecisionFilter,
    source: Source,
) -> None:
    """Print decisions as they are committed, each once, until Ctrl-C. Starts now, or with --since or --after in the
    past.

    Example: `remit audit follow --tenant acme --effect deny`
    """

    def print_all(records: Iterable[DecisionRecord]) -> None:
        for record in islice(records, limit):
            if as_json:
                print_json_line(record_json(record))
            else:
                out.print(decision_line(record))

    with suppress(KeyboardInterrupt):
        source.answer(
            lambda store: print_all(_followed(store, where, after)),
            lambda client: print_all(_streamed(client, where, after)),
        )


def _followed(store: AuditReader, where: DecisionFilter, after: bytes | None) -> Iterator[DecisionRecord]:
    if after is None and where.since_us is not None:
        after = first_id_at(where.since_us - CLOCK_SLACK_US)
    following = ChangeFeed.begin(store, where, after)
    while True:
        yield from following.more(_BATCH)
        if not following.is_behind:
            time.sleep(_LOOK_EVERY_S)


def _streamed(client: Client, where: DecisionFilter, after: bytes | None) -> Iterator[DecisionRecord]:
    return map(record_from, client.follow_records(filter_to(where), after=format_id(after) if after else ""))
