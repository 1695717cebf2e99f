from typing import Annotated

import typer

from remit.audit.ids import parse_id
from remit.cli.common.as_json import JsonOption, plain, print_json
from remit.cli.common.output import Exit, fail, out
from remit.cli.common.server_options import DEFAULT_SERVER, Connection, ServerOption, with_connection
from remit.cli.server.replay import change_json, print_changes
from remit.client import DecisionUnavailable
from remit.clock import utc_text
from remit.service.shadow.replay import ReplayedChange
from remit.v1 import status_service_pb2 as messages


@with_connection(5.0)
def shadow(
    tenant: Annotated[str, typer.Option(help="Only this tenant.", show_default=False)] = "",
    target: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
    *,
    connection: Connection,
) -> None:
    """Show which decisions since its load the candidate of a server's setting `shadow` would make otherwise.

    With mutual TLS it is only for callers who may read the audit, and the server records each call. Exits 0 if no
    decision would change, 1 if one would, and 3 if there is no candidate or it does not load.

    Example: `remit shadow --tenant acme`
    """
    try:
        with connection.client(target) as client:
            answer: messages.GetShadowResponse = client.ask(messages.GetShadowRequest(tenant=tenant))
    except DecisionUnavailable as error:
        if error.code == "INVALID_ARGUMENT":
            fail(Exit.USAGE, str(error))
        fail(Exit.UNAVAILABLE, error.message if error.code == "FAILED_PRECONDITION" else str(error))
    changes = [_change(each) for each in answer.changes]
    if as_json:
        print_json({**plain(answer), "changes": map(change_json, changes)})
    else:
        for line in answer.errors:
            out.print(line)
        if changes:
            print_changes(changes)
        since = utc_text(answer.since_us, separator=" ")
        loaded = f"{answer.tree_revision[:12]} since {since}" if answer.tree_revision else "has not loaded"
        out.print(
            f"candidate in `{answer.directory}` {loaded}: {answer.decided} decisions decided again, {answer.differing} would "
            f"change; {answer.skipped} left out, {answer.rows_unknown} whose rows of run time are not known, {answer.dropped} past its budget",
            markup=False,
        )
    if answer.errors or not answer.tree_revision:
        raise typer.Exit(Exit.UNAVAILABLE)
    raise typer.Exit(Exit.NO if answer.differing else Exit.OK)


def _change(message: messages.ShadowChange) -> ReplayedChange:
    return ReplayedChange(
        message.tenant,
        message.principal,
        message.action,
        message.kind,
        message.namespace,
        (message.live.effect, message.live.reason),
        (message.candidate.effect, message.candidate.reason),
        message.candidate.rule,
        message.decisions,
        parse_id(message.last_decision_id),
    )
