from collections.abc import Iterable
from typing import Annotated, cast

import typer
from google.protobuf.json_format import MessageToDict
from rich.box import SIMPLE
from rich.table import Column, Table

from remit import wire
from remit.core.errors import named
from remit.core.names import parse_namespace, parse_tenant
from remit.core.question import parse_reach_question
from remit.core.rows import Effect
from remit.engine.explain_reach import WhyReach, reach_summary, unknown_tenants_reach
from remit.engine.reachable import ReachableFrom
from remit.faces.answers import reachable_to
from remit.faces.cli.ask import JsonOption, TenantArgument
from remit.faces.cli.exits import Exit, out, print_json
from remit.faces.cli.files import survey
from remit.faces.cli.place import Place, asks
from remit.faces.cli.search import end_where_refused
from remit.v1 import decision_pb2
from remit.v1 import reach_service_pb2 as messages

CallerArgument = Annotated[
    str, typer.Argument(help="The namespace whose work wants to use something.", show_default=False)
]
OwnerArgument = Annotated[
    str | None,
    typer.Argument(
        help="The namespace that owns it; none lists what CALLER can use, and who can use its own.", show_default=False
    ),
]
RelationArgument = Annotated[
    str | None, typer.Argument(help="For example `SUBFLOW`; none tells of every relation.", show_default=False)
]


@asks
def reach(
    tenant: TenantArgument,
    caller: CallerArgument,
    owner: OwnerArgument = None,
    relation: RelationArgument = None,
    as_json: JsonOption = False,
    *,
    place: Place,
) -> None:
    """May work in CALLER use what OWNER owns, by RELATION, and which row says so? Exits 0 on an allow, 1 on a deny.

    With --json in the shape of the API's ExplainReachResponse, or ListReachableResponse where OWNER or RELATION is left
    out.

    Example: `remit reach acme acme.data acme.finance SUBFLOW`
    """
    if owner is not None and relation is not None:
        response = _explained(tenant, messages.ReachQuestion(caller=caller, owner=owner, relation=relation), place)
        if as_json:
            print_json(MessageToDict(response, preserving_proto_field_name=True))
        else:
            out.print(response.summary, markup=False)
        allowed = response.decision.effect == wire.EFFECTS[Effect.ALLOW.value]
        raise typer.Exit(Exit.OK if allowed else Exit.NO)
    listed = _listed(tenant, caller, owner, place)
    if as_json:
        print_json(MessageToDict(listed, preserving_proto_field_name=True))
    end_where_refused(listed.receipt)
    if as_json:
        return
    if owner is not None:
        for each in listed.relations:
            may = bool(each.uses_among)
            out.print(f"{each.relation:<20}{'allow' if may else 'deny'}", style="green" if may else "red")
        raise typer.Exit(Exit.OK if any(each.uses_among for each in listed.relations) else Exit.NO)
    headings = ("relation", f"{caller} can use", f"can use {caller}")
    table = Table(*(Column(name, overflow="fold") for name in headings), box=SIMPLE)
    for each in listed.relations:
        table.add_row(each.relation, _told(each.uses), _told(each.used_by), end_section=True)
    out.print(table)


def _explained(tenant: str, question: messages.ReachQuestion, place: Place) -> messages.ExplainReachResponse:
    def locally() -> messages.ExplainReachResponse:
        name = named("tenant", parse_tenant, tenant)
        asked = parse_reach_question(question.caller, question.owner, question.relation)
        surveyed = survey(place.policies, name, WhyReach(asked))
        explanation = surveyed.answer or unknown_tenants_reach(name, asked)
        return wire.reach_explanation_to(explanation, "", surveyed.revision, reach_summary(explanation))

    request = messages.ExplainReachRequest(tenant=tenant, question=question)
    return place.answer(locally, lambda client: cast("messages.ExplainReachResponse", client.ask(request)))


def _listed(tenant: str, caller: str, owner: str | None, place: Place) -> messages.ListReachableResponse:
    among = [] if owner is None else [owner]

    def locally() -> messages.ListReachableResponse:
        inquiry = ReachableFrom(
            named("caller", parse_namespace, caller),
            among=tuple(named("owner", parse_namespace, each) for each in among),
        )
        return reachable_to(survey(place.policies, named("tenant", parse_tenant, tenant), inquiry))

    request = messages.ListReachableRequest(tenant=tenant, namespace=caller, among=among)
    return place.answer(locally, lambda client: cast("messages.ListReachableResponse", client.ask(request)))


def _told(sets: Iterable[decision_pb2.NamespaceSet]) -> str:
    return "\n".join(str(wire.set_from(each)) for each in sets) or "nothing"
