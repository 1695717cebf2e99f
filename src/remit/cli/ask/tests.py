from typing import Annotated, Final

import typer

from remit.cli.ask.check import TenantArgument
from remit.cli.ask.source import ended
from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.output import Exit, out
from remit.cli.common.server_options import DEFAULT_SERVER, Connection, ServerOption, with_connection
from remit.cli.common.table import print_table
from remit.client import DecisionUnavailable
from remit.v1 import policy_service_pb2 as messages

_PAGE: Final = 1_000


# As long as the server takes for tests at most.
@with_connection(120.0)
def tests(
    tenant: TenantArgument,
    revision: Annotated[
        str,
        typer.Option("--revision", help="This revision, by at least 8 of its first digits.", show_default=False),
    ] = "",
    failed_only: Annotated[bool, typer.Option("--failed", help="Only cases that do not hold.")] = False,
    as_json: JsonOption = False,
    target: ServerOption = DEFAULT_SERVER,
    *,
    connection: Connection,
) -> None:
    """Run the tests of a revision that a server keeps, and count the rows that no case exercises.

    They are the tests of the files, without what was granted at run time. `remit test` runs those of a directory.

    Example: `remit tests acme --failed`
    """
    request = messages.GetTestsRequest(tenant=tenant, revision=revision, failed_only=failed_only, page_size=_PAGE)
    try:
        with connection.client(target) as client:
            response: messages.GetTestsResponse = client.ask(request)
            page = response
            while page.next_page_token:
                # If another revision serves by then, the server refuses the next page.
                request.page_token = page.next_page_token
                page = client.ask(request)
                response.cases.extend(page.cases)
    except DecisionUnavailable as error:
        ended(error)
    response.next_page_token = ""
    if as_json:
        print_json(response)
    else:
        _print(response)
    raise typer.Exit(Exit.NO if response.failed else Exit.OK)


def _print(response: messages.GetTestsResponse) -> None:
    for case in response.cases:
        place = f"{case.file}:{case.line}"
        if case.failures:
            out.print(f"FAILED {place}  {case.test}: {case.asked}", style="red")
            out.print("\n".join(f"  {line}" for each in case.failures for line in each.splitlines()))
        else:
            out.print(f"holds  {place}  {case.test}: {case.asked}")
    if response.coverage:
        rows = ((each.file, str(each.rows), str(each.rows - each.missed)) for each in response.coverage)
        print_table(("file", "rows", "exercised"), rows, numbers=("rows", "exercised"))
    out.print(f"{response.passed} passed, {response.failed} failed, revision {response.files_revision}")
