from collections.abc import Iterable
from typing import Annotated, cast

import typer
from google.protobuf.json_format import MessageToDict
from rich.box import SIMPLE
from rich.table import Column, Table

from remit import wire
from remit.cli.ask.check import JsonOption, TenantArgument
from remit.cli.common.backend import Backend, asks
from remit.cli.common.output import Exit, end_where_refused, fail, out, print_json
from remit.cli.common.policy_files import NamesFile, names_in, survey
from remit.core.errors import each_named, named
from remit.core.names import parse_namespace, parse_relation, parse_tenant
from remit.core.question import parse_reach_question
from remit.core.rows import Effect
from remit.engine.explain.reach import ReachExplainer, reach_summary, unknown_tenants_reach
from remit.engine.queries.reachable import ReachableFrom, ReachesAll
from remit.rpc.encode_answers import all_reached_to, reachable_to
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
RelationsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--relation",
        metavar="NAME",
        help="Without RELATION: tell of this one only. Once for each.",
        show_default=False,
    ),
]


@asks
def reach(
    tenant: TenantArgument,
    caller: CallerArgument,
    owner: OwnerArgument = None,
    relation: RelationArgument = None,
    relations: RelationsOption = None,
    as_json: JsonOption = False,
    *,
    place: Backend,
) -> None:
    """May work in CALLER use what OWNER owns, by RELATION, and which row says so? Exits 0 on an allow, 1 on a deny.

    Without RELATION it tells of every one, and exits 0 if any allows. With --json in the shape of the API's
    ExplainReachResponse, or ListReachableResponse where OWNER or RELATION is left out.

    Example: `remit reach acme acme.data acme.finance SUBFLOW`
    """
    if relation is not None and relations:
        fail(Exit.USAGE, "--relation narrows what is told of several: leave out RELATION or the option")
    if owner is not None and relation is not None:
        response = _explained(tenant, messages.ReachQuestion(caller=caller, owner=owner, relation=relation), place)
        if as_json:
            print_json(MessageToDict(response, preserving_proto_field_name=True))
        else:
            out.print(response.summary)
        allowed = response.decision.effect == wire.EFFECTS[Effect.ALLOW.value]
        raise typer.Exit(Exit.OK if allowed else Exit.NO)
    listed = _listed(tenant, caller, owner, [*dict.fromkeys(relations or [])], place)
    if as_json:
        print_json(MessageToDict(listed, preserving_proto_field_name=True))
    end_where_refused(listed.receipt)
    if not as_json:
        if owner is None:
            _print_everywhere(listed, caller)
        else:
            _print_relations(listed)
    if owner is not None:
        raise typer.Exit(Exit.OK if any(each.uses_among for each in listed.relations) else Exit.NO)


@asks
def reach_all(
    tenant: TenantArgument,
    caller: CallerArgument,
    relation: Annotated[str, typer.Argument(help="For example `PURGE`.", show_default=False)],
    owners: Annotated[
        NamesFile,
        typer.Argument(metavar="FILE", help="The owners, one a line; `-` reads standard input.", show_default=False),
    ],
    as_json: JsonOption = False,
    *,
    place: Backend,
) -> None:
    """May work in CALLER use by RELATION what every one of these namespaces owns, and which refuse?

    For work that names no namespace, such as a purge of all there are. Exits 0 if all allow, 1 if one refuses. With
    --json in the shape of the API's CheckReachAllResponse.

    Example: `remit reach-all acme system PURGE namespaces.txt`
    """
    names = names_in(owners)
    request = messages.CheckReachAllRequest(tenant=tenant, caller=caller, relation=relation, owners=names)

    def locally() -> messages.CheckReachAllResponse:
        inquiry = ReachesAll(
            named("caller", parse_namespace, caller),
            named("relation", parse_relation, relation),
            each_named("owners", parse_namespace, names),
        )
        return all_reached_to(survey(place.policies, named("tenant", parse_tenant, tenant), inquiry))

    response = place.answer(locally, lambda client: cast("messages.CheckReachAllResponse", client.ask(request)))
    allowed = response.decision.effect == wire.EFFECTS[Effect.ALLOW.value]
    if as_json:
        print_json(MessageToDict(response, preserving_proto_field_name=True))
    else:
        told = f"{wire.EFFECT_OF[response.decision.effect]} {wire.REASON_OF[response.decision.reason]}"
        out.print(told, style="green" if allowed else "red")
        _print_columns((each.owner, wire.REASON_OF[each.reason]) for each in response.refused)
    raise typer.Exit(Exit.OK if allowed else Exit.NO)


def _print_everywhere(listed: messages.ListReachableResponse, caller: str) -> None:
    headings = ("relation", f"{caller} can use", f"can use {caller}")
    table = Table(*(Column(name, overflow="fold") for name in headings), box=SIMPLE)
    for each in listed.relations:
        table.add_row(each.relation, _told(each.uses), _told(each.used_by), end_section=True)
    out.print(table)


def _print_relations(listed: messages.ListReachableResponse) -> None:
    effects = ((each.relation, Effect.ALLOW if each.uses_among else Effect.DENY) for each in listed.relations)
    _print_columns(effects)


def _print_columns(lines: Iterable[tuple[str, str]]) -> None:
    table = Table.grid("", "", padding=(0, 2, 0, 0))
    for line in lines:
        table.add_row(*line)
    if table.rows:
        out.print(table)


def _explained(tenant: str, question: messages.ReachQuestion, place: Backend) -> messages.ExplainReachResponse:
    def locally() -> messages.ExplainReachResponse:
        name = named("tenant", parse_tenant, tenant)
        asked = parse_reach_question(question.caller, question.owner, question.relation)
        surveyed = survey(place.policies, name, ReachExplainer(asked))
        explanation = surveyed.answer or unknown_tenants_reach(name, asked)
        return wire.reach_explanation_to(explanation, "", surveyed.revision, reach_summary(explanation))

    request = messages.ExplainReachRequest(tenant=tenant, question=question)
    return place.answer(locally, lambda client: cast("messages.ExplainReachResponse", client.ask(request)))


def _listed(
    tenant: str, caller: str, owner: str | None, relations: list[str], place: Backend
) -> messages.ListReachableResponse:
    among = [] if owner is None else [owner]

    def locally() -> messages.ListReachableResponse:
        inquiry = ReachableFrom(
            named("caller", parse_namespace, caller),
            each_named("relations", parse_relation, relations),
            among=tuple(named("owner", parse_namespace, each) for each in among),
        )
        return reachable_to(survey(place.policies, named("tenant", parse_tenant, tenant), inquiry))

    request = messages.ListReachableRequest(tenant=tenant, namespace=caller, relations=relations, among=among)
    return place.answer(locally, lambda client: cast("messages.ListReachableResponse", client.ask(request)))


def _told(sets: Iterable[decision_pb2.NamespaceSet]) -> str:
    return "\n".join(str(wire.set_from(each)) for each in sets) or "nothing"
