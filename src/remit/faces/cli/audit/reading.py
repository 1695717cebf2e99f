import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.box import SIMPLE
from rich.table import Column, Table

from remit.audit.filter import DecisionFilter
from remit.audit.ids import format_id
from remit.audit.record import DecisionRecord, LifecycleRecord
from remit.core.decision import Reason
from remit.core.question import QuestionType
from remit.core.rows import Effect
from remit.faces.cli.audit.options import STORE_DEFAULT, StoreOption, decision_id_from, moment, time_told
from remit.faces.cli.exits import Exit, err, fail, out
from remit.faces.cli.store import opened


def list_records(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.", show_default=False)] = None,
    namespace: Annotated[
        str | None, typer.Option(help="Only this namespace and all below it.", show_default=False)
    ] = None,
    principal: Annotated[str | None, typer.Option(help="Only this principal.", show_default=False)] = None,
    effect: Annotated[Effect | None, typer.Option(help="Only allows or only denies.", show_default=False)] = None,
    reason: Annotated[
        Reason | None,
        typer.Option(metavar="REASON", help="Only this reason, for example NO_BINDING.", show_default=False),
    ] = None,
    question: Annotated[
        QuestionType | None,
        typer.Option(metavar="TYPE", help="Only this type of question, for example REACH.", show_default=False),
    ] = None,
    since: Annotated[
        int | None,
        typer.Option(
            parser=moment, metavar="TIME", help="From this time on: ISO 8601, or `90m` ago.", show_default=False
        ),
    ] = None,
    until: Annotated[
        int | None, typer.Option(parser=moment, metavar="TIME", help="Before this time.", show_default=False)
    ] = None,
    decision_id: Annotated[
        bytes | None,
        typer.Option("--id", parser=decision_id_from, metavar="ID", help="Only this decision.", show_default=False),
    ] = None,
    after: Annotated[
        bytes | None,
        typer.Option(
            parser=decision_id_from, metavar="ID", help="Go on behind this record: the next page.", show_default=False
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Records a page.")] = 50,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="In the order of time.")] = False,
    lifecycle: Annotated[
        bool, typer.Option("--lifecycle", help="Instead of decisions: server starts and stops, policy loads, purges.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
    audit: StoreOption = STORE_DEFAULT,
) -> None:
    """List records, newest first, a page at a time.

    Example: `remit audit list --tenant acme --namespace acme.finance --effect deny --since 2h`
    """
    decisions_only = {"--namespace": namespace, "--principal": principal, "--effect": effect, "--reason": reason}
    decisions_only |= {"--question": question}
    if lifecycle:
        named = [flag for flag, value in (decisions_only | {"--id": decision_id}).items() if value is not None]
        if named:
            fail(Exit.USAGE, f"{', '.join(named)} is for decisions: leave out --lifecycle")
    where = DecisionFilter(
        ids=(decision_id,) if decision_id else (),
        tenant=tenant,
        namespace=namespace,
        principal=principal,
        effect=effect.value if effect else None,
        reason=reason.value if reason else None,
        question=question.value if question else None,
        since_us=since,
        until_us=until,
    )
    page: Sequence[DecisionRecord | LifecycleRecord]
    with opened(audit) as store:
        if lifecycle:
            page = store.lifecycle(
                tenant=tenant, since_us=since, until_us=until, after=after, limit=limit, newest_first=not oldest_first
            )
        else:
            page = store.decisions(where, after=after, limit=limit, newest_first=not oldest_first)
    if as_json:
        for record in page:
            typer.echo(json.dumps(_told(record)))
    elif not page:
        err.print("no record matches")
    else:
        out.print(_lifecycle_table(page) if lifecycle else _decision_table(page))
    if len(page) == limit:
        err.print(f"next page: --after {format_id(page[-1].id)}")


def show(
    decision_id: Annotated[bytes, typer.Argument(parser=decision_id_from, metavar="ID", help="The decision's id.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    audit: StoreOption = STORE_DEFAULT,
) -> None:
    """Show one decision with every field."""
    with opened(audit) as store:
        record = store.decision(decision_id)
    if record is None:
        fail(Exit.NO, f"no decision `{format_id(decision_id)}` in `{store.url}`")
    told = _told(record)
    if as_json:
        typer.echo(json.dumps(told, indent=2))
        return
    for name, value in told.items():
        out.print(f"{name:<14}{value}", markup=False)


def _told(record: DecisionRecord | LifecycleRecord) -> dict[str, Any]:
    told = record._asdict()
    told["id"] = format_id(record.id)
    told["time"] = time_told(told.pop("time_us"))
    if isinstance(record, DecisionRecord):
        told["call_id"] = format_id(record.call_id)
    else:
        told["detail"] = json.loads(record.detail) if record.detail else {}
    return {"id": told.pop("id"), "time": told.pop("time"), **told}


def _decision_table(page: Sequence[Any]) -> Table:
    names = ("time", "tenant", "namespace", "principal", "question", "effect", "reason", "rule", "id")
    table = Table(*(Column(name, overflow="fold") for name in names), box=SIMPLE)
    for each in page:
        colour = "green" if each.effect == Effect.ALLOW else "red"
        question = f"{each.action} {each.kind}".strip()
        if each.question != QuestionType.CHECK:
            question = f"{each.question} {question}"
        cells = (time_told(each.time_us), each.tenant, each.namespace, each.principal, question)
        table.add_row(*cells, f"[{colour}]{each.effect}[/]", each.reason, each.rule, format_id(each.id))
    return table


def _lifecycle_table(page: Sequence[Any]) -> Table:
    names = ("time", "node", "type", "tenant", "revision", "detail")
    table = Table(*(Column(name, overflow="fold") for name in names), box=SIMPLE)
    for each in page:
        table.add_row(time_told(each.time_us), each.node, each.type, each.tenant, each.revision[:12], each.detail)
    return table
