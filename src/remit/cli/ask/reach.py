from collections.abc import Iterable
from typing import Annotated

import typer

from remit import wire
from remit.cli.ask.check import TenantArgument
from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.backend import Backend, end_where_refused, print_hint, with_backend
from remit.cli.common.output import Exit, fail, out
from remit.cli.common.policy_files import NamesFile, names_in
from remit.cli.common.table import print_table
from remit.core.decision import Reason
from remit.core.rows import Effect
from remit.v1 import decision_pb2
from remit.v1 import reach_service_pb2 as messages

CallerArgument = Annotated[
    str, typer.Argument(help="The namespace whose work wants to use something.", show_default=False)
]
OwnerArgument = Annotated[
    str | None,
    typer.Argument(
        help="The namespace that owns it. Without it: list what CALLER can use, and who can use what CALLER owns.",
        show_default=False,
    ),
]
RelationArgument = Annotated[
    str | None, typer.Argument(help="For example `SUBFLOW`. Without it: every relation.", show_default=False)
]
RelationsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--relation",
        metavar="NAME",
        help="Without RELATION: only this relation; may be repeated.",
        show_default=False,
    ),
]


@with_backend
def reach(
    tenant: TenantArgument,
    caller: CallerArgument,
    owner: OwnerArgument = None,
    relation: RelationArgument = None,
    relations: RelationsOption = None,
    as_json: JsonOption = False,
    *,
    backend: Backend,
) -> None:
    """May work in CALLER use what OWNER owns, by RELATION, and which row says so? Exits 0 on an allow, 1 on a deny.

    Without RELATION, answers for every relation, and exits 0 if any allows.

    Example: `remit reach acme acme.data acme.finance SUBFLOW`
    """
    if relation is not None and relations:
        fail(Exit.USAGE, "--relation selects some of several relations: leave out RELATION or the option")
    if owner is not None and relation is not None:
        question = messages.ReachQuestion(caller=caller, owner=owner, relation=relation)
        explained = messages.ExplainReachRequest(tenant=tenant, question=question)
        response: messages.ExplainReachResponse = backend.ask(explained)
        if as_json:
            print_json(response)
        else:
            out.print(response.summary)
            if response.decision.reason == wire.REASONS[Reason.UNKNOWN_TENANT]:
                print_hint(response.decision, explained, backend)
        allowed = response.decision.effect == wire.EFFECTS[Effect.ALLOW.value]
        raise typer.Exit(Exit.OK if allowed else Exit.NO)
    request = messages.ListReachableRequest(
        tenant=tenant,
        namespace=caller,
        relations=dict.fromkeys(relations or []),
        among=[] if owner is None else [owner],
    )
    listed: messages.ListReachableResponse = backend.ask(request, {"namespace": "caller", "among[0]": "owner"})
    if as_json:
        print_json(listed)
    end_where_refused(listed.receipt, request, backend)
    if not as_json:
        if owner is None:
            _print_everywhere(listed, caller)
        else:
            _print_relations(listed)
    if owner is not None:
        raise typer.Exit(Exit.OK if any(each.uses_among for each in listed.relations) else Exit.NO)


@with_backend
def reach_all(
    tenant: TenantArgument,
    caller: CallerArgument,
    relation: Annotated[str, typer.Argument(help="For example `PURGE`.", show_default=False)],
    owners: Annotated[
        NamesFile,
        typer.Argument(metavar="FILE", help="The owners, one per line; `-` reads standard input.", show_default=False),
    ],
    as_json: JsonOption = False,
    *,
    backend: Backend,
) -> None:
    """May work in CALLER use by RELATION what every one of these namespaces owns, and which refuse?

    For work that names no namespace, such as a purge of all namespaces. Exits 0 if all allow, 1 if one refuses.

    Example: `remit reach-all acme system PURGE namespaces.txt`
    """
    names = names_in(owners)
    request = messages.CheckReachAllRequest(tenant=tenant, caller=caller, relation=relation, owners=names)
    response: messages.CheckReachAllResponse = backend.ask(request)
    allowed = response.decision.effect == wire.EFFECTS[Effect.ALLOW.value]
    if as_json:
        print_json(response)
    else:
        decision = f"{wire.EFFECT_OF[response.decision.effect]} {wire.REASON_OF[response.decision.reason]}"
        out.print(decision, style="green" if allowed else "red")
        print_hint(response.decision, request, backend)
        _print_refused(response)
    raise typer.Exit(Exit.OK if allowed else Exit.NO)


def _print_everywhere(listed: messages.ListReachableResponse, caller: str) -> None:
    names = ("relation", f"{caller} can use", f"can use {caller}")
    print_table(names, ((each.relation, _sets(each.uses), _sets(each.used_by)) for each in listed.relations))


def _print_relations(listed: messages.ListReachableResponse) -> None:
    effects = ((each.relation, Effect.ALLOW if each.uses_among else Effect.DENY) for each in listed.relations)
    print_table(("relation", "effect"), effects)


def _print_refused(response: messages.CheckReachAllResponse) -> None:
    if response.refused:
        print_table(("owner", "reason"), ((each.owner, wire.REASON_OF[each.reason]) for each in response.refused))


def _sets(sets: Iterable[decision_pb2.NamespaceSet]) -> list[str]:
    return [str(wire.set_from(each)) for each in sets] or ["nothing"]
