from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Annotated, Final, NamedTuple

import typer

from remit.audit.ids import format_id
from remit.audit.query.filter import DecisionFilter
from remit.audit.query.reader import AuditReader
from remit.audit.query.recorded_names import parse_lifecycle_type
from remit.audit.record import DecisionRecord, LifecycleRecord
from remit.cli.audit.filter_options import filter_to, selects, warn_unknown
from remit.cli.audit.format_records import print_decisions, print_lifecycle, record_json
from remit.cli.audit.options import decision_id_from
from remit.cli.audit.source import Source, reads
from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.output import Exit, err, fail
from remit.cli.common.parsers import from_text
from remit.client import Client
from remit.core.errors import InvalidNameError
from remit.rpc.encode_records import lifecycle_from, record_from

_PAGE: Final = 1_000
_OF_LIFECYCLE: Final = {"tenant", "node"}


@reads
@selects
def list_records(
    ids: Annotated[
        list[bytes] | None,
        typer.Option("--id", parser=decision_id_from, metavar="ID", help="Only this decision.", show_default=False),
    ] = None,
    after: Annotated[
        bytes | None,
        typer.Option(
            parser=decision_id_from, metavar="ID", help="Continue after this record: the next page.", show_default=False
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Records a page.")] = 50,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="Oldest first.")] = False,
    lifecycle: Annotated[
        bool,
        typer.Option(
            "--lifecycle",
            help="Instead of decisions: server starts and stops, policy loads, purges, reads of the audit.",
        ),
    ] = False,
    type_: Annotated[
        str | None,
        typer.Option(
            "--type",
            parser=from_text(parse_lifecycle_type, InvalidNameError),
            metavar="TYPE",
            help="With --lifecycle: only this type, for example POLICY_LOADED.",
            show_default=False,
        ),
    ] = None,
    without_calls: Annotated[
        bool,
        typer.Option("--without-calls", help="With --lifecycle: leave out reads and refused calls of callers."),
    ] = False,
    as_json: JsonOption = False,
    *,
    where: DecisionFilter,
    source: Source,
) -> None:
    """List records, newest first, a page at a time.

    Example: `remit audit list --tenant acme --namespace acme.finance --effect deny --since 2h`
    """
    where = replace(where, ids=tuple(ids or ()))
    of_decisions = [f"--{name}" for name in sorted(where.selects - _OF_LIFECYCLE)] + (["--id"] if ids else [])
    if lifecycle and of_decisions:
        fail(Exit.USAGE, f"{', '.join(of_decisions)} is for decisions: leave out --lifecycle")
    if type_ is not None and not lifecycle:
        fail(Exit.USAGE, "--type is for lifecycle records: add --lifecycle")
    if without_calls and not lifecycle:
        fail(Exit.USAGE, "--without-calls is for lifecycle records: add --lifecycle")
    asked = _ListRequest(where, type_, after, limit, oldest_first, without_calls)
    page: Sequence[DecisionRecord | LifecycleRecord]
    if lifecycle:
        page = events = source.answer(asked.events_here, asked.events_there)
        print_page = partial(print_lifecycle, events)
    else:
        page = records = source.answer(asked.records_here, asked.records_there)
        print_page = partial(print_decisions, records)
    next_page = format_id(page[-1].id) if len(page) == limit else ""
    if as_json:
        print_json({"records": map(record_json, page), "next_page": next_page})
    elif page:
        print_page()
    else:
        err.print("no record matches")
        if lifecycle:
            asked.warn_unknown_node(source)
        else:
            warn_unknown(where, source)
    if next_page and not as_json:
        err.print(f"next page: --after {next_page}")


class _ListRequest(NamedTuple):
    where: DecisionFilter
    type: str | None
    after: bytes | None
    limit: int
    oldest_first: bool
    without_calls: bool

    def records_here(self, store: AuditReader) -> list[DecisionRecord]:
        return store.decisions(self.where, after=self.after, limit=self.limit, newest_first=not self.oldest_first)

    def records_there(self, client: Client) -> list[DecisionRecord]:
        found = client.list_records(
            filter_to(self.where), oldest_first=self.oldest_first, after=self._after, page_size=min(self.limit, _PAGE)
        )
        return [record_from(each) for each in islice(found, self.limit)]

    def warn_unknown_node(self, source: Source) -> None:
        tenant, node = self.where.tenant, self.where.node
        if node is None:
            return
        known = source.answer(
            lambda store: bool(store.lifecycle(tenant=tenant, node=node, limit=1)),
            lambda client: next(client.list_lifecycle(tenant or "", node=node, page_size=1), None) is not None,
        )
        if not known:
            whose = "" if tenant is None else f" in tenant `{tenant}`"
            err.print(f"the audit holds no lifecycle record of node `{node}`{whose}")

    def events_here(self, store: AuditReader) -> list[LifecycleRecord]:
        return store.lifecycle(
            type_=self.type,
            tenant=self.where.tenant,
            node=self.where.node,
            since_us=self.where.since_us,
            until_us=self.where.until_us,
            after=self.after,
            limit=self.limit,
            newest_first=not self.oldest_first,
            without_calls=self.without_calls,
        )

    def events_there(self, client: Client) -> list[LifecycleRecord]:
        found = client.list_lifecycle(
            self.where.tenant or "",
            type=self.type or "",
            node=self.where.node or "",
            since_us=self.where.since_us or 0,
            until_us=self.where.until_us or 0,
            oldest_first=self.oldest_first,
            after=self._after,
            page_size=min(self.limit, _PAGE),
            without_calls=self.without_calls,
        )
        return [lifecycle_from(each) for each in islice(found, self.limit)]

    @property
    def _after(self) -> str:
        return format_id(self.after) if self.after else ""
