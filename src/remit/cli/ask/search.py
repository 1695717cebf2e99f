from typing import Annotated

import typer

from remit import wire
from remit.cli.ask.check import (
    ActionArgument,
    KindArgument,
    NamespaceArgument,
    PrincipalArgument,
    TenantArgument,
)
from remit.cli.common.as_json import JsonOption, plain, print_json, time_text
from remit.cli.common.backend import Backend, end_where_refused, with_backend
from remit.cli.common.output import err, out
from remit.cli.common.policy_files import NamesFile, names_in
from remit.cli.common.table import print_table
from remit.v1 import decision_pb2
from remit.v1 import search_service_pb2 as messages

AnyActionArgument = Annotated[str, typer.Argument(help="For example `VIEW`; `*` for any.")]
AnyKindArgument = Annotated[str, typer.Argument(help="For example `FLOW`; `*` for any.")]
AmongOption = Annotated[
    NamesFile | None,
    typer.Option(
        "--among",
        metavar="FILE",
        help="Print which of these namespaces match, one per line; `-` reads standard input.",
        show_default=False,
    ),
]

_PAGE = 1_000


@with_backend
def who(
    tenant: TenantArgument,
    action: ActionArgument,
    kind: KindArgument,
    namespace: NamespaceArgument = "",
    as_json: JsonOption = False,
    *,
    backend: Backend,
) -> None:
    """List everybody who may do this, with the rule and the rows that lead to it.

    Example: `remit who acme UPDATE FLOW acme.finance`
    """
    request = messages.ListPrincipalsRequest(
        tenant=tenant, action=action, kind=kind, namespace=namespace, page_size=_PAGE
    )
    response = _all_pages(request, backend)
    if as_json:
        document = plain(response)
        # All pages are in it.
        del document["next_page_token"]
        print_json(document)
    end_where_refused(response.receipt, request, backend)
    if as_json:
        return
    rows = ((each.principal, _row(each.rule.row), [*map(_row, each.chain)]) for each in response.principals)
    if response.principals:
        print_table(("principal", "rule", "held by"), rows)
    err.print(f"{response.total} may {action} {kind} in {namespace or 'the tenant itself'}")


@with_backend
def held(
    tenant: TenantArgument, principal: PrincipalArgument, as_json: JsonOption = False, *, backend: Backend
) -> None:
    """List all that leads from somebody: bindings first, then what they lead to, where it counts and by which rows.

    Example: `remit held acme user:bob`
    """
    request = messages.ListHeldRequest(tenant=tenant, principal=principal, page_size=_PAGE)
    response: messages.ListHeldResponse = backend.ask(request)
    page = response
    while page.next_page_token:
        request.page_token = page.next_page_token
        page = backend.ask(request)
        response.entries.extend(page.entries)
    if as_json:
        document = plain(response)
        # All pages are in it.
        del document["next_page_token"]
        print_json(document)
    end_where_refused(response.receipt, request, backend)
    if as_json:
        return
    if response.shut_out:
        err.print("the access list lets nobody in by this name: every check is denied")
    if response.entries:
        rows = (
            (each.holds or "a rule", each.namespaces, time_text(each.expires_us), _rows_of(each))
            for each in response.entries
        )
        print_table(("holds", "in", "ends", "by"), rows)
    err.print(f"{response.total} entries; roles: {' '.join(response.roles) or 'none'}")


@with_backend
def where(
    tenant: TenantArgument,
    principal: PrincipalArgument,
    action: AnyActionArgument = "*",
    kind: AnyKindArgument = "*",
    among: AmongOption = None,
    as_json: JsonOption = False,
    *,
    backend: Backend,
) -> None:
    """List the namespaces where somebody may do this, as patterns; by default where they may do anything at all.

    Example: `remit where acme user:carol UPDATE FLOW`
    """
    names = names_in(among) if among is not None else []
    wanted_action, wanted_kind = ("" if word == "*" else word for word in (action, kind))
    request = messages.ListNamespacesRequest(
        tenant=tenant, principal=principal, action=wanted_action, kind=wanted_kind, among=names
    )
    response: messages.ListNamespacesResponse = backend.ask(request)
    if as_json:
        print_json(response)
    end_where_refused(response.receipt, request, backend)
    if as_json:
        return
    lines = response.among if among is not None else [str(wire.set_from(each)) for each in response.sets]
    for line in lines:
        out.print(line)
    if not lines:
        # Printed apart from the names, because it could be a name.
        err.print("nowhere")


@with_backend
def what(
    tenant: TenantArgument,
    principal: PrincipalArgument,
    namespace: NamespaceArgument = "",
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="Only this kind; may be repeated.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
    *,
    backend: Backend,
) -> None:
    """List what somebody may do in a namespace, or in the tenant itself, by kind.

    Example: `remit what acme user:carol acme.finance`
    """
    kinds = kind or []
    request = messages.ListActionsRequest(tenant=tenant, principal=principal, namespace=namespace, kinds=kinds)
    response: messages.ListActionsResponse = backend.ask(request)
    if as_json:
        print_json(response)
    end_where_refused(response.receipt, request, backend)
    if as_json:
        return
    if response.kinds:
        print_table(("kind", "actions"), ((each.kind, " ".join(each.actions)) for each in response.kinds))
    else:
        err.print("nothing")


def _rows_of(entry: messages.HeldEntry) -> list[str]:
    return [_row(each.row) for each in entry.chain] or [_row(entry.rule.row)]


def _row(row: decision_pb2.PolicyRow) -> str:
    place = f"{row.file}:{row.line}" if row.line else row.file
    return f"{place}  {row.text}"


def _all_pages(request: messages.ListPrincipalsRequest, backend: Backend) -> messages.ListPrincipalsResponse:
    response: messages.ListPrincipalsResponse = backend.ask(request)
    page = response
    while page.next_page_token:
        request.page_token = page.next_page_token
        page = backend.ask(request)
        response.principals.extend(page.principals)
    response.next_page_token = ""
    return response
