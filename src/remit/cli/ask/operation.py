from typing import Annotated

import typer

from remit import wire
from remit.cli.ask.check import PrincipalArgument, TenantArgument
from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.backend import Backend, print_hint, with_backend
from remit.cli.common.output import Exit, out, styled
from remit.cli.common.table import print_table
from remit.core.rows import Effect
from remit.v1.access_service_pb2 import CheckOperationRequest, CheckOperationResponse

OperationArgument = Annotated[
    str, typer.Argument(help="One that the vocabulary declares, for example `promote_flow`.", show_default=False)
]
NamespaceArgument = Annotated[
    str,
    typer.Argument(
        help="For example `acme.finance`; leave it out for an operation in the tenant itself.", show_default=False
    ),
]


@with_backend
def operation(
    tenant: TenantArgument,
    principal: PrincipalArgument,
    operation: OperationArgument,
    namespace: NamespaceArgument = "",
    as_json: JsonOption = False,
    *,
    backend: Backend,
) -> None:
    """Ask about a compound operation: several checks under one name, of which all must allow.

    Prints each part with its reason. Exits 0 if all allow, 1 if one denies.

    Example: `remit operation acme user:carol create_flow_in_new_namespace acme.finance.audit`
    """
    request = CheckOperationRequest(tenant=tenant, principal=principal, operation=operation, namespace=namespace)
    response: CheckOperationResponse = backend.ask(request)
    allowed = response.effect == wire.EFFECTS[Effect.ALLOW.value]
    if as_json:
        print_json(response)
    else:
        out.print(Effect.ALLOW if allowed else Effect.DENY, style="green" if allowed else "red")
        _print_parts(response)
        print_hint(response.parts[0].decision, request, backend)
    raise typer.Exit(Exit.OK if allowed else Exit.NO)


def _print_parts(response: CheckOperationResponse) -> None:
    rows = []
    for part in response.parts:
        effect = wire.EFFECT_OF.get(part.decision.effect, Effect.DENY)
        reason = wire.REASON_OF.get(part.decision.reason, "")
        colour = "green" if effect is Effect.ALLOW else "red"
        rows.append((part.action, part.kind, part.namespace, styled((effect, colour)), reason))
    print_table(("action", "kind", "namespace", "effect", "reason"), rows)
