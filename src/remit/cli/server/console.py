from pathlib import Path
from typing import Annotated, Final

from remit.cli.common.option_group import where_option
from remit.cli.common.output import Exit, fail, out
from remit.cli.common.server_options import DEFAULT_SERVER, Connection, ServerOption, with_connection
from remit.cli.server.console_login import LoginOptions, with_login
from remit.console.app import application
from remit.console.login.invitation import Invitation
from remit.console.options import ConsoleOptions
from remit.console.serve import ConsoleServer
from remit.core.addresses import split_address

_LISTEN: Final = "127.0.0.1:9095"


@with_connection(10.0)
@with_login
def console(
    listen: Annotated[
        str, where_option("--listen", "REMIT_CONSOLE_LISTEN", "HOST:PORT", "Where browsers find the console.")
    ] = _LISTEN,
    graphs: Annotated[
        Path | None,
        where_option("--graphs", "REMIT_CONSOLE_GRAPHS", "DIR", "Dependency graphs to show: `.json`, `.dot` or `.gv`."),
    ] = None,
    target: ServerOption = DEFAULT_SERVER,
    *,
    connection: Connection,
    login: LoginOptions,
) -> None:
    """Show a running server to people, in a web browser.

    On a loopback address the console asks nobody to log in, and answers only browsers on this machine. It asks the
    server as any other client does, with the certificate or the token that is named here. On any other address people
    log in by an OpenID provider, over TLS: each call to the server carries the token of the person, whose rights count,
    and the certificate of the console grants nothing. Stops on SIGTERM and SIGINT.

    Example: `remit console --target 127.0.0.1:9090`
    """
    try:
        host, _ = split_address("--listen", listen)
    except ValueError as error:
        fail(Exit.USAGE, str(error))
    admitted = login.admitted(host)
    made = ConsoleOptions(
        admitted.client(connection, target),
        target,
        hosts=admitted.hosts,
        graphs=graphs,
        entrance=admitted.entrance,
        secure=admitted.secure,
    )
    try:
        server = ConsoleServer(listen, application(made), admitted.tls)
    except OSError as error:
        fail(Exit.UNAVAILABLE, f"--listen: `{listen}`: {error.strerror or error}")
    entry = admitted.entrance.path if isinstance(admitted.entrance, Invitation) else ""
    server.run(lambda: out.print(f"the console of {target} is at {admitted.url or server.url}{entry}"))
