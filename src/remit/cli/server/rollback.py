from typing import Annotated

import typer

from remit.cli.common.as_json import JsonOption, plain, print_json
from remit.cli.common.output import Exit, fail, out
from remit.cli.common.server_options import DEFAULT_SERVER, Connection, ServerOption, with_connection
from remit.cli.common.table import print_table
from remit.client import Client, DecisionUnavailable
from remit.clock import utc_text
from remit.v1 import policy_service_pb2 as messages
from remit.v1 import status_service_pb2

_EXITS = {"INVALID_ARGUMENT": Exit.USAGE, "NOT_FOUND": Exit.NO, "FAILED_PRECONDITION": Exit.NO}


@with_connection(10.0)
def rollback(
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="A tenant of the server.")],
    revision: Annotated[
        str, typer.Argument(metavar="REV", help="A kept revision: its first digits, at least 8.", show_default=False)
    ] = "",
    unpin: Annotated[bool, typer.Option("--unpin", help="Serve the files again.")] = False,
    lift: Annotated[
        bool, typer.Option("--lift-suspensions", help="Pin REV also if suspensions that stand do not count with it.")
    ] = False,
    as_json: JsonOption = False,
    target: ServerOption = DEFAULT_SERVER,
    *,
    connection: Connection,
) -> None:
    """Serve a kept revision of a tenant on one server, whatever its files say, until `--unpin`.

    Without REV, lists the kept revisions; the server shows commit and directory to callers with READ. It records
    the act with the caller's name, and the pin outlasts a restart. Meanwhile edits are checked, reported by `status`,
    and wait.

    Example: `remit rollback acme`
    """
    if revision and unpin:
        fail(Exit.USAGE, "REV pins and --unpin unpins: name one")
    try:
        with connection.client(target) as client:
            if unpin:
                _unpin(client, tenant, as_json=as_json)
            elif revision:
                pinned = client.ask(
                    messages.PinRevisionRequest(tenant=tenant, revision=revision, lift_suspensions=lift)
                )
                if as_json:
                    print_json({"tenant": tenant, **plain(pinned)})
                else:
                    serving = pinned.revision
                    if not serving.startswith(revision):
                        serving = f"{revision} with rows of run time, {serving}"
                    out.print(f"{tenant}: pinned to {serving}, before {pinned.replaced or 'none'}")
            else:
                _list(client, tenant, as_json=as_json)
    except DecisionUnavailable as error:
        fail(_EXITS.get(error.code, Exit.UNAVAILABLE), str(error))


def _unpin(client: Client, tenant: str, *, as_json: bool) -> None:
    response = client.ask(messages.UnpinRevisionRequest(tenant=tenant))
    if as_json:
        print_json({"tenant": tenant, **plain(response)})
        return
    state = status_service_pb2.TenantState.Name(response.state).removeprefix("TENANT_STATE_")
    out.print(f"{tenant}: unpinned, {state} {response.revision or 'no revision'}")


def _list(client: Client, tenant: str, *, as_json: bool) -> None:
    found = client.ask(messages.ListRevisionsRequest(tenant=tenant)).revisions
    if not found:
        fail(Exit.NO, f"no revision of tenant `{tenant}` is kept")
    if as_json:
        print_json({"revisions": [{**plain(each), "serving": each.serving} for each in found]})
        return
    rows = []
    for each in found:
        loaded = utc_text(each.kept_us, separator=" ")
        mark = "serving" if each.serving else ""
        commit, dash, dirty = each.commit.partition("-")
        rows.append((each.revision[:12], loaded, mark, f"{commit[:12]}{dash}{dirty}", each.source))
    print_table(("revision", "loaded", "state", "commit", "read from"), rows)
