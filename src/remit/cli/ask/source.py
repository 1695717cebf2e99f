from typing import Annotated, Final, NoReturn

import typer

from remit.cli.ask.check import TenantArgument
from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.output import Exit, fail, out
from remit.cli.common.server_options import DEFAULT_SERVER, Connection, ServerOption, with_connection
from remit.cli.common.table import print_table
from remit.client import Client, DecisionUnavailable
from remit.v1 import policy_service_pb2 as messages

_PAGE: Final = 1_000
_EXITS: Final = {"INVALID_ARGUMENT": Exit.USAGE, "NOT_FOUND": Exit.NO, "PERMISSION_DENIED": Exit.NO}


@with_connection(5.0)
def source(
    tenant: TenantArgument,
    file: Annotated[
        str, typer.Argument(help="The path of a file, as rows name it; leave it out for the list of files.")
    ] = "",
    revision: Annotated[
        str,
        typer.Option("--revision", help="This revision, by at least 8 of its first digits.", show_default=False),
    ] = "",
    first_line: Annotated[int, typer.Option("--from", min=1, metavar="LINE", help="From this line on.")] = 1,
    count: Annotated[
        int | None, typer.Option("--lines", min=1, help="At most so many lines; all if it is left out.")
    ] = None,
    as_json: JsonOption = False,
    target: ServerOption = DEFAULT_SERVER,
    *,
    connection: Connection,
) -> None:
    """Print the files of a revision that a server keeps, or the text of one of them.

    Example: `remit source acme acme/bindings.csv --lines 20`
    """
    request = messages.GetSourceRequest(
        tenant=tenant, revision=revision, file=file, first_line=first_line, page_size=_PAGE
    )
    try:
        with connection.client(target) as client:
            response = _whole(client, request, count)
    except DecisionUnavailable as error:
        ended(error)
    if as_json:
        print_json(response)
    elif file:
        for line in response.lines:
            out.print(f"{line.text}{'…' if line.cut else ''}")
    else:
        rows = [
            (each.path, "withheld" if each.withheld else str(each.size_bytes), each.sha256) for each in response.files
        ]
        print_table(("file", "bytes", "sha256"), rows, numbers=("bytes",))


def ended(error: DecisionUnavailable) -> NoReturn:
    """Ends a command about a revision that got no answer."""
    fail(_EXITS.get(error.code, Exit.UNAVAILABLE), str(error))


def _whole(client: Client, request: messages.GetSourceRequest, count: int | None) -> messages.GetSourceResponse:
    """All pages in one message."""
    request.lines = _PAGE if count is None else min(count, _PAGE)
    response: messages.GetSourceResponse = client.ask(request)
    page = response
    while page.next_page_token:
        request.page_token = page.next_page_token
        page = client.ask(request)
        response.files.extend(page.files)
    response.next_page_token = ""
    # What follows is of the same revision, whatever serves by then.
    request.revision, next_page = response.revision, response
    while request.file and next_page.next_line and (count is None or len(response.lines) < count):
        request.first_line = next_page.next_line
        request.lines = _PAGE if count is None else min(count - len(response.lines), _PAGE)
        next_page = client.ask(request)
        response.lines.extend(next_page.lines)
        response.next_line = next_page.next_line
    return response
