from functools import partial
from pathlib import Path
from typing import Annotated, cast

import typer
from google.protobuf.json_format import MessageToDict
from rich.box import SIMPLE
from rich.table import Table

from remit import wire
from remit.cli.ask.check import JsonOption, PrincipalArgument, TenantArgument
from remit.cli.common.backend import Backend, asks
from remit.cli.common.output import Exit, out, print_json, styled
from remit.cli.common.policy_files import read_snapshot
from remit.core.decision import Decision, Reason
from remit.core.errors import named
from remit.core.names import Tenant, optional_namespace, parse_principal, parse_tenant, parse_word
from remit.core.rows import Effect
from remit.engine.queries.operations import Compound
from remit.v1.access_service_pb2 import CheckOperationRequest, CheckOperationResponse

OperationArgument = Annotated[
    str, typer.Argument(help="One that the vocabulary declares, for example `promote_flow`.", show_default=False)
]
NamespaceArgument = Annotated[
    str,
    typer.Argument(help="For example `acme.finance`; none for what is done in the tenant itself.", show_default=False),
]


@asks
def operation(
    tenant: TenantArgument,
    principal: PrincipalArgument,
    operation: OperationArgument,
    namespace: NamespaceArgument = "",
    as_json: JsonOption = False,
    *,
    place: Backend,
) -> None:
    """Ask about a compound operation: several checks under one name, of which all must allow.

    Prints each part with its reason. Exits 0 if all allow, 1 if one denies. With --json in the shape of the API's
    CheckOperationResponse.

    Example: `remit operation acme user:carol create_flow_in_new_namespace acme.finance.audit`
    """

    def locally() -> CheckOperationResponse:
        compound = Compound(
            named("principal", parse_principal, principal),
            named("operation", partial(parse_word, "operation"), operation),
            named("namespace", optional_namespace, namespace),
        )
        return _answer_locally(place.policies, named("tenant", parse_tenant, tenant), compound)

    response = place.answer(
        locally,
        lambda client: cast(
            "CheckOperationResponse",
            client.ask(
                CheckOperationRequest(tenant=tenant, principal=principal, operation=operation, namespace=namespace)
            ),
        ),
    )
    allowed = response.effect == wire.EFFECTS[Effect.ALLOW.value]
    if as_json:
        print_json(MessageToDict(response, preserving_proto_field_name=True))
    else:
        out.print(Effect.ALLOW if allowed else Effect.DENY, style="green" if allowed else "red")
        out.print(_table(response))
    raise typer.Exit(Exit.OK if allowed else Exit.NO)


def _answer_locally(policies: Path, tenant: Tenant, compound: Compound) -> CheckOperationResponse:
    snapshot = read_snapshot(policies, tenant)
    if snapshot is None:
        return wire.operation_to([(compound.whole, Decision(Effect.DENY, Reason.UNKNOWN_TENANT), "")], "")
    parts = compound.parts(snapshot.policy)
    return wire.operation_to(((part, snapshot.decide(part), "") for part in parts), snapshot.revision)


def _table(response: CheckOperationResponse) -> Table:
    table = Table("action", "kind", "namespace", "effect", "reason", box=SIMPLE)
    for part in response.parts:
        effect = wire.EFFECT_OF.get(part.decision.effect, Effect.DENY)
        reason = wire.REASON_OF.get(part.decision.reason, "")
        colour = "green" if effect is Effect.ALLOW else "red"
        table.add_row(part.action, part.kind, part.namespace, styled((effect, colour)), reason)
    return table
