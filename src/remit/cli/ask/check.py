from typing import Annotated

import typer

from remit import wire
from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.backend import Backend, print_hint, with_backend
from remit.cli.common.output import Exit, out
from remit.client.decode import answer_of
from remit.core.decision import Reason
from remit.core.rows import Effect
from remit.v1 import access_service_pb2 as messages

TenantArgument = Annotated[str, typer.Argument(help="The tenant, or `_instance`.", show_default=False)]
PrincipalArgument = Annotated[str, typer.Argument(help="`user:ID` or `service:ID`.", show_default=False)]
ActionArgument = Annotated[str, typer.Argument(help="For example `VIEW`.", show_default=False)]
KindArgument = Annotated[str, typer.Argument(help="For example `FLOW`.", show_default=False)]
NamespaceArgument = Annotated[
    str,
    typer.Argument(
        help="For example `acme.finance`; leave it out for kinds that live in no namespace.", show_default=False
    ),
]


@with_backend
def check(
    tenant: TenantArgument,
    principal: PrincipalArgument,
    action: ActionArgument,
    kind: KindArgument,
    namespace: NamespaceArgument = "",
    as_json: JsonOption = False,
    *,
    backend: Backend,
) -> None:
    """Ask one question: exits 0 on an allow, 1 on a deny.

    Asks the files in --policies (not recorded), or with --target a running server (recorded).

    Example: `remit check acme user:dave VIEW FLOW acme.finance`
    """
    question = messages.Question(principal=principal, action=action, kind=kind, namespace=namespace)
    request = messages.CheckRequest(tenant=tenant, question=question)
    response: messages.CheckResponse = backend.ask(request)
    answer = answer_of(response)
    if as_json:
        print_json(response)
    else:
        out.print(f"{answer.effect} {answer.reason}", style="green" if answer.allowed else "red")
        print_hint(response.decision, request, backend)
    raise typer.Exit(Exit.OK if answer.allowed else Exit.NO)


@with_backend
def explain(
    tenant: TenantArgument,
    principal: PrincipalArgument,
    action: ActionArgument,
    kind: KindArgument,
    namespace: NamespaceArgument = "",
    as_json: JsonOption = False,
    *,
    backend: Backend,
) -> None:
    """Ask one question and see why: the rule, the chain of rows to it, near misses, and what would allow.

    Exits 0 on an allow, 1 on a deny.

    Example: `remit explain acme user:dave UPDATE FLOW acme.finance`
    """
    question = messages.Question(principal=principal, action=action, kind=kind, namespace=namespace)
    request = messages.ExplainRequest(tenant=tenant, question=question)
    response: messages.ExplainResponse = backend.ask(request)
    if as_json:
        print_json(response)
    else:
        out.print(response.summary)
        if response.decision.reason == wire.REASONS[Reason.UNKNOWN_TENANT]:
            print_hint(response.decision, request, backend)
    allowed = response.decision.effect == wire.EFFECTS[Effect.ALLOW.value]
    raise typer.Exit(Exit.OK if allowed else Exit.NO)
