import secrets
from pathlib import Path
from typing import Annotated, Final

import typer

from remit.cli.common.option_group import where_option
from remit.cli.common.output import Exit, fail, out
from remit.cli.common.server_options import DEFAULT_SERVER, Connection, ServerOption, with_connection
from remit.client import AsyncClient
from remit.console.app import application
from remit.console.entrance import PATH
from remit.console.guard import needs_login
from remit.console.options import Console
from remit.console.serve import ConsoleServer
from remit.core.addresses import split_address

_LISTEN: Final = "127.0.0.1:9095"


@with_connection(10.0)
def console(
    listen: Annotated[
        str, where_option("--listen", "REMIT_CONSOLE_LISTEN", "HOST:PORT", "Where browsers find the console.")
    ] = _LISTEN,
    graphs: Annotated[
        Path | None,
        where_option("--graphs", "REMIT_CONSOLE_GRAPHS", "DIR", "Dependency graphs to show: `.json`, `.dot` or `.gv`."),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Print a URL that opens the console once, and let no other browser in.")
    ] = False,
    target: ServerOption = DEFAULT_SERVER,
    *,
    connection: Connection,
) -> None:
    """Show a running server to people, in a web browser.

    The console asks the server as any other client does, with the certificate or the token that is named here. On a
    loopback address it asks nobody to log in, and answers only browsers on this machine; it does not start on another
    address. Stops on SIGTERM and SIGINT.

    Example: `remit console --target 127.0.0.1:9090`
    """
    try:
        host, _ = split_address("--listen", listen)
    except ValueError as error:
        fail(Exit.USAGE, str(error))
    if needs_login(host):
        fail(Exit.USAGE, f"--listen: `{listen}`: expected a loopback address, because nobody logs in there")
    client = connection.of(AsyncClient, target)
    made = Console(lambda: client, target, graphs=graphs, key=secrets.token_urlsafe(32) if once else "")
    try:
        server = ConsoleServer(listen, application(made))
    except OSError as error:
        fail(Exit.UNAVAILABLE, f"--listen: `{listen}`: {error.strerror or error}")
    entry = f"{PATH[1:]}?key={made.key}" if once else ""
    server.run(lambda: out.print(f"the console of {target} is at {server.url}{entry}"))
