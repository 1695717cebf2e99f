from typing import Annotated

import typer

from remit.cli.ask.check import TenantArgument
from remit.cli.common.as_json import JsonOption, plain, print_json
from remit.cli.common.backend import Backend, with_backend
from remit.cli.common.output import err, out
from remit.cli.common.table import print_table
from remit.engine.queries.names import NameCategory
from remit.v1 import policy_service_pb2 as messages

_PAGE = 1_000


@with_backend
def names(
    tenant: TenantArgument,
    what: Annotated[NameCategory, typer.Argument(help="What to list.")] = NameCategory.NAMESPACE,
    prefix: Annotated[str, typer.Option("--prefix", help="Only names that begin so.", show_default=False)] = "",
    contains: Annotated[
        str, typer.Option("--contains", help="Only names with this in them, in capitals or not.", show_default=False)
    ] = "",
    as_json: JsonOption = False,
    *,
    backend: Backend,
) -> None:
    """List the names that a tenant's policy uses, and how many rows use each.

    Example: `remit names acme role`
    """
    request = messages.ListNamesRequest(
        tenant=tenant,
        what=messages.NameType.Value(f"NAME_TYPE_{what.name}"),
        prefix=prefix,
        contains=contains,
        page_size=_PAGE,
    )
    response: messages.ListNamesResponse = backend.ask(request)
    page = response
    while page.next_page_token:
        request.page_token = page.next_page_token
        page = backend.ask(request)
        response.names.extend(page.names)
    if as_json:
        document = plain(response)
        # All pages are in it.
        del document["next_page_token"]
        print_json(document)
        return
    if response.names:
        rows = ((each.name, str(each.rows), str(each.others)) for each in response.names)
        print_table((what, "rows", "others"), rows, numbers=("rows", "others"))
    err.print(f"{response.total} names")


@with_backend
def vocabulary(tenant: TenantArgument, as_json: JsonOption = False, *, backend: Backend) -> None:
    """List the words that a tenant's policy may use: kinds and actions, relations, operations, services.

    Example: `remit vocabulary acme`
    """
    response: messages.GetVocabularyResponse = backend.ask(messages.GetVocabularyRequest(tenant=tenant))
    if as_json:
        print_json(response)
        return
    classes = {
        each.number: each.name.removeprefix("KIND_CLASS_").lower() for each in messages.KindClass.DESCRIPTOR.values
    }
    for title, columns, rows in (
        (
            "kind",
            ("class", "actions"),
            [(each.kind, classes[each.kind_class], " ".join(each.actions)) for each in response.kinds],
        ),
        (
            "relation",
            ("inherited",),
            [(each.relation, "yes" if each.inherited else "no") for each in response.relations],
        ),
        ("operation", ("checks",), [(each.operation, [*map(_check, each.checks)]) for each in response.operations]),
        ("service", (), [(each,) for each in response.services]),
    ):
        if rows:
            print_table((title, *columns), rows)
            out.print()


def _check(check: messages.VocabularyCheck) -> str:
    return f"{check.kind} {check.action}{' at the parent' if check.at_parent else ''}"
