from collections.abc import Sequence
from typing import Annotated, Final

import typer

from remit import wire
from remit.cli.ask.check import NamespaceArgument, TenantArgument
from remit.cli.ask.search import AmongOption
from remit.cli.common.as_json import JsonOption, plain, print_json
from remit.cli.common.backend import Backend, end_where_refused, with_backend
from remit.cli.common.output import Exit, err, fail
from remit.cli.common.policy_files import names_in
from remit.cli.common.table import print_table
from remit.core.decision import Reason
from remit.v1 import search_service_pb2 as messages

_ARGUMENTS: Final = {
    "principals.namespace": "namespace",
    "principals.holding": "--who",
    "namespaces.principal": "--of",
    "namespaces.below": "namespace",
}


@with_backend
def matrix(
    tenant: TenantArgument,
    namespace: NamespaceArgument = "",
    who: Annotated[
        list[str] | None,
        typer.Option(
            "--who",
            metavar="NAME",
            help="These principals, may be repeated; or those of one group or role.",
            show_default=False,
        ),
    ] = None,
    of: Annotated[
        str,
        typer.Option(
            "--of",
            metavar="PRINCIPAL",
            help="List the named namespaces, at and below NAMESPACE, for this principal.",
            show_default=False,
        ),
    ] = "",
    among: AmongOption = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", help="Only the actions of this kind; may be repeated.", show_default=False),
    ] = None,
    action: Annotated[
        list[str] | None, typer.Option("--action", help="Only this action; may be repeated.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
    *,
    backend: Backend,
) -> None:
    """Show a table of decisions: principals in a namespace by actions, or namespaces of one principal.

    Without --who and --of, the rows are all principals for whom a rule decides something there. `allow` and `DENY` are
    by a rule; an empty cell is a deny for lack of one. At most 60 columns: name kinds or actions.

    Example: `remit matrix acme acme.finance --kind FLOW --who group:finance`
    """
    request = messages.ListMatrixRequest(tenant=tenant, kinds=kind or [], actions=action or [])
    if of:
        if who:
            fail(Exit.USAGE, "--who makes rows of principals, and --of rows of namespaces: name one")
        if among is not None and namespace:
            fail(Exit.USAGE, "NAMESPACE and --among both say which namespaces: name one")
        names = names_in(among) if among is not None else []
        if among is not None and not names:
            fail(Exit.USAGE, "--among names no namespace")
        request.namespaces.CopyFrom(messages.NamespaceRows(principal=of, namespaces=names, below=namespace))
    else:
        if among is not None:
            fail(Exit.USAGE, "--among needs --of PRINCIPAL: it names the namespaces that are rows")
        request.principals.CopyFrom(_people(namespace, who or []))
    response = _all_rows(request, backend)
    if as_json:
        document = plain(response)
        # All pages are in it.
        del document["next_page_token"]
        print_json(document)
    end_where_refused(response.receipt, request, backend)
    if as_json:
        return
    if response.rows:
        head = "namespace" if of else "principal"
        print_table((head, *_titles(response.columns)), [(row.name, *map(_word, row.cells)) for row in response.rows])
    err.print(f"{response.total} rows")


def _people(namespace: str, who: Sequence[str]) -> messages.PrincipalRows:
    holding = [each for each in who if each.startswith(("group:", "role:"))]
    if not holding:
        return messages.PrincipalRows(namespace=namespace, principals=who)
    if len(who) > 1:
        fail(Exit.USAGE, f"--who names `{holding[0]}` and others: name principals, or one group or role")
    return messages.PrincipalRows(namespace=namespace, holding=holding[0])


def _titles(columns: Sequence[messages.MatrixColumn]) -> list[str]:
    one = len({each.kind for each in columns}) == 1
    return [each.action if one else f"{each.kind} {each.action}" for each in columns]


def _word(cell: messages.MatrixCell) -> str:
    match wire.REASON_OF.get(cell.reason):
        case Reason.ALLOWED_BY_RULE:
            return "allow"
        case Reason.DENIED_BY_RULE:
            return "DENY"
        case _:
            return ""


def _all_rows(request: messages.ListMatrixRequest, backend: Backend) -> messages.ListMatrixResponse:
    response: messages.ListMatrixResponse = backend.ask(request, _ARGUMENTS)
    page = response
    while page.next_page_token:
        request.page_token = page.next_page_token
        page = backend.ask(request, _ARGUMENTS)
        response.rows.extend(page.rows)
    response.next_page_token = ""
    return response
