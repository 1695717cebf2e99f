from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToDict

from remit import wire
from remit.cli.common.backend import Backend, asks
from remit.cli.common.output import Exit, out, print_json
from remit.cli.common.policy_files import read_snapshot
from remit.client import Answer
from remit.core.decision import Reason
from remit.core.errors import named
from remit.core.names import Tenant, parse_tenant
from remit.core.question import Question, parse_question
from remit.core.rows import Effect
from remit.engine.explain.access import explain as explain_locally
from remit.engine.explain.access import summary, unknown_tenant
from remit.v1.access_service_pb2 import ExplainResponse

TenantArgument = Annotated[str, typer.Argument(help="The tenant, or `_instance`.", show_default=False)]
PrincipalArgument = Annotated[str, typer.Argument(help="`user:ID` or `service:ID`.", show_default=False)]
ActionArgument = Annotated[str, typer.Argument(help="For example `VIEW`.", show_default=False)]
KindArgument = Annotated[str, typer.Argument(help="For example `FLOW`.", show_default=False)]
NamespaceArgument = Annotated[
    str,
    typer.Argument(help="For example `acme.finance`; none for kinds that live in no namespace.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@asks
def check(
    tenant: TenantArgument,
    principal: PrincipalArgument,
    action: ActionArgument,
    kind: KindArgument,
    namespace: NamespaceArgument = "",
    as_json: JsonOption = False,
    *,
    place: Backend,
) -> None:
    """Ask one question: exits 0 on an allow, 1 on a deny.

    From the files in --policies (not recorded), or with --target from a running server (recorded).

    Example: `remit check acme user:dave VIEW FLOW acme.finance`
    """
    answer = place.answer(
        lambda: _answer_locally(place.policies, *_names(tenant, principal, action, kind, namespace)),
        lambda client: client.check(tenant, principal, action, kind, namespace),
    )
    if as_json:
        told = {"effect": answer.effect.value, "reason": answer.reason.value, "revision": answer.revision}
        print_json(told | ({"decision_id": answer.decision_id} if answer.decision_id else {}))
    else:
        out.print(f"{answer.effect} {answer.reason}", style="green" if answer.allowed else "red")
    raise typer.Exit(Exit.OK if answer.allowed else Exit.NO)


@asks
def explain(
    tenant: TenantArgument,
    principal: PrincipalArgument,
    action: ActionArgument,
    kind: KindArgument,
    namespace: NamespaceArgument = "",
    as_json: JsonOption = False,
    *,
    place: Backend,
) -> None:
    """Ask one question and see why: the rule, the chain of rows to it, near misses, and what would allow.

    Exits 0 on an allow, 1 on a deny. With --json in the shape of the API's ExplainResponse.

    Example: `remit explain acme user:dave UPDATE FLOW acme.finance`
    """
    response = place.answer(
        lambda: _explain_locally(place.policies, *_names(tenant, principal, action, kind, namespace)),
        lambda client: client.explain(tenant, principal, action, kind, namespace),
    )
    if as_json:
        print_json(MessageToDict(response, preserving_proto_field_name=True))
    else:
        out.print(response.summary)
    allowed = response.decision.effect == wire.EFFECTS[Effect.ALLOW.value]
    raise typer.Exit(Exit.OK if allowed else Exit.NO)


def _answer_locally(policies: Path, tenant: Tenant, question: Question) -> Answer:
    snapshot = read_snapshot(policies, tenant)
    if snapshot is None:
        return Answer(Effect.DENY, Reason.UNKNOWN_TENANT, "", "")
    decision = snapshot.decide(question)
    return Answer(decision.effect, decision.reason, "", snapshot.revision)


def _explain_locally(policies: Path, tenant: Tenant, question: Question) -> ExplainResponse:
    snapshot = read_snapshot(policies, tenant)
    explanation = unknown_tenant(tenant, question) if snapshot is None else explain_locally(snapshot, question)
    revision = "" if snapshot is None else snapshot.revision
    return wire.explanation_to(explanation, "", revision, summary(explanation))


def _names(tenant: str, principal: str, action: str, kind: str, namespace: str) -> tuple[Tenant, Question]:
    return named("tenant", parse_tenant, tenant), parse_question(principal, action, kind, namespace)
