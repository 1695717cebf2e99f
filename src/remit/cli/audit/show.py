from typing import Annotated, Any

import typer

from remit.audit.ids import format_id
from remit.audit.query.reader import AuditReader
from remit.cli.audit.format_records import record_json
from remit.cli.audit.options import decision_id_from
from remit.cli.audit.source import Source, reads
from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.output import Exit, err, fail, out
from remit.policy.read.limits import Limits
from remit.rpc.encode_records import record_from, shown_to
from remit.service.history import explaining_here
from remit.service.history import show as show_locally
from remit.v1 import audit_service_pb2 as messages


@reads
def show(
    decision_id: Annotated[bytes, typer.Argument(parser=decision_id_from, metavar="ID", help="The decision's id.")],
    as_json: JsonOption = False,
    *,
    source: Source,
) -> None:
    """Show one decision with every field, its place in its chain, and why it was made, by the policy of that time.

    Example: `remit audit show 01a20ab6-2458-7f26-90da-4fb3fbb0d492`
    """
    shown = source.answer(
        lambda store: _shown_locally(store, decision_id), lambda client: client.get_record(format_id(decision_id))
    )
    fields = record_json(record_from(shown.record))
    grounds = shown.explanation.WhichOneof("grounds")
    if as_json:
        explanation = getattr(shown.explanation, grounds) if grounds else None
        verdict = {"agrees": shown.agrees, "unexplained": shown.unexplained}
        print_json({**fields, "place": shown.place, "explanation": explanation, **verdict})
        return
    for name, value in fields.items():
        out.print(f"{name:<14}{value}")
    out.print(f"{'place':<14}{_place(shown)}")
    if grounds is None:
        out.print(f"\nno explanation: {shown.unexplained}")
        return
    out.print(f"\n{getattr(shown.explanation, grounds).summary}")
    if not shown.agrees:
        err.print("the files of that revision give another decision than the record", style="red")


def _shown_locally(store: AuditReader, decision_id: bytes) -> messages.GetRecordResponse:
    record = store.decision(decision_id)
    if record is None:
        fail(Exit.NO, f"no decision `{format_id(decision_id)}` in `{store.url}`")
    return shown_to(show_locally(store, record, explaining_here(store, Limits())))


def _place(shown: messages.GetRecordResponse) -> Any:
    place, record = shown.place, shown.record
    if not place.seq:
        return "in no chain: it is from before there were chains"
    whose = record.tenant or "no tenant"
    return f"{place.seq} of {place.head} in the chain of {whose} on {record.node}, {place.hash.hex()}"
