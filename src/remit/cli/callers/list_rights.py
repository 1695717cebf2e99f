"""`remit callers list`: who may ask what about which tenant."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import typer

from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.backend import Backend, RemoteBackend, end_where_refused, no_answer
from remit.cli.common.local_backend import LocalBackend
from remit.cli.common.output import Exit, err, fail
from remit.cli.common.policies_option import with_policies
from remit.cli.common.policy_files import loading
from remit.cli.common.server_options import Connection, TargetOption, server_asked, with_connection
from remit.cli.common.table import print_table
from remit.client import DecisionUnavailable
from remit.core.caller_actions import CallerAction, actions_about, asked_about
from remit.core.errors import RemitError
from remit.core.names import CALLERS, INSTANCE, Tenant
from remit.policy.load import DEFAULT_LIMITS
from remit.policy.read.tree import read_tree
from remit.v1 import search_service_pb2 as messages

_PAGE: Final = 1_000


class _Held(NamedTuple):
    caller: str
    tenant: str
    actions: dict[CallerAction, str]
    """With what leads to each: the groups and roles, or the row itself."""


@with_connection(10.0)
@with_policies
def list_rights(
    context: typer.Context,
    directory: Path,
    as_json: JsonOption = False,
    target: TargetOption = None,
    *,
    connection: Connection,
) -> None:
    """List who may ask what about which tenant: by the files, or by a running server with `--target`.

    `_instance` stands for `_instance`, `_callers` and all tenants at once. A server needs WHO on REMIT_INSTANCE, and shows
    the tenants with STATUS.

    Example: `remit callers list policies`
    """
    try:
        if target is None or not server_asked(context, "directory", "policies"):
            with loading(directory, Exit.UNAVAILABLE):
                tenants = [*read_tree(directory, DEFAULT_LIMITS).tenants]
            if CALLERS not in tenants:
                fail(Exit.USAGE, f"`{directory}` has no folder `{CALLERS}`: `remit callers init` writes one")
            held = list(_held(LocalBackend(directory), tenants))
        else:
            with connection.client(target) as client:
                tenants = [Tenant(each.tenant) for each in client.status().tenants]
                held = list(_held(RemoteBackend(client), tenants))
    except (DecisionUnavailable, RemitError) as error:
        no_answer(error)
    if as_json:
        print_json({"callers": map(_plain, held)})
    elif held:
        rows = ((each.caller, each.tenant, " ".join(each.actions), _ways(each)) for each in held)
        print_table(("caller", "tenant", "may", "by"), rows)
    else:
        err.print("nobody may ask anything")


def _plain(held: _Held) -> dict[str, object]:
    return {"caller": held.caller, "tenant": held.tenant, "actions": list(held.actions), "by": _ways(held)}


def _held(place: Backend, tenants: Iterable[Tenant]) -> Iterator[_Held]:
    """In the order of callers and tenants."""
    found: defaultdict[tuple[str, str], dict[CallerAction, str]] = defaultdict(dict)
    for tenant in {*tenants, INSTANCE} - {CALLERS}:
        kind, namespace = asked_about(tenant)
        for action in actions_about(kind):
            request = messages.ListPrincipalsRequest(
                tenant=CALLERS, action=action, kind=kind, namespace=namespace, page_size=_PAGE
            )
            while True:
                response: messages.ListPrincipalsResponse = place.ask(request)
                end_where_refused(response.receipt, request, place)
                for each in response.principals:
                    found[each.principal, tenant][action] = _way(each)
                request.page_token = response.next_page_token
                if not request.page_token:
                    break
    for caller, name in sorted(found):
        yield _Held(caller, name, found[caller, name])


def _way(permitted: messages.PermittedPrincipal) -> str:
    """`group:platform > role:operator`; the subject of the p row, if it names the caller itself."""
    # `g, MEMBER, HOLDS, SCOPE`
    held = [row.text.split(", ")[2] for row in permitted.chain]
    row = permitted.rule.row
    return " > ".join(held) or f"{row.file}:{row.line}"


def _ways(held: _Held) -> list[str]:
    return list(dict.fromkeys(held.actions.values()))
