import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, TypeVar

import typer

from remit.cli.common.help import WHERE
from remit.cli.common.option_group import Command, option, option_group, where_option
from remit.cli.common.output import Exit, err, fail
from remit.cli.common.parsers import secret_in
from remit.core.addresses import split_address

if TYPE_CHECKING:
    from remit.client import Client

_Client = TypeVar("_Client")

# `remit serve` refuses unknown variables: `CLIENT_VARIABLES` of its settings names these.
TargetOption = Annotated[str | None, where_option("--target", "REMIT_TARGET", "HOST:PORT", "Ask this running server.")]
ServerOption = Annotated[str, where_option("--target", "REMIT_TARGET", "HOST:PORT", "The server.")]
"""For a command that only a server can answer."""
DEFAULT_SERVER: Final = "127.0.0.1:9090"
CaOption = Annotated[
    Path | None,
    where_option("--tls-server-ca", "REMIT_TLS_SERVER_CA", "FILE", "PEM: who signed the server's certificate."),
]
CertOption = Annotated[
    Path | None, where_option("--tls-cert", "REMIT_TLS_CERT", "FILE", "PEM: this client's certificate.")
]
KeyOption = Annotated[Path | None, where_option("--tls-key", "REMIT_TLS_KEY", "FILE", "PEM: its private key.")]
TokenOption = Annotated[
    Path | None, where_option("--token-file", "REMIT_TOKEN_FILE", "FILE", "A token that says who asks; needs TLS.")
]
TimeoutOption = Annotated[
    float,
    typer.Option(
        "--timeout", metavar="SECONDS", help="Deadline of a call to the server.", min=0.001, rich_help_panel=WHERE
    ),
]


_SOURCES: Final = ("DEFAULT", "DEFAULT_MAP", "ENVIRONMENT", "COMMANDLINE")
"""The sources of a value, each before those on its left. DEFAULT_MAP is the settings file."""


def server_asked(context: typer.Context, *instead: str) -> bool:
    """Whether the command asks the server of `--target`, and not the place that the parameters `instead` name.

    The command line counts before the environment, and the environment before the settings file: with REMIT_TARGET,
    `--policies DIR` still asks files. Of two from the same source, the server is asked.
    """
    target, *others = (_SOURCES.index(_source_of(context, name)) for name in ("target", *instead))
    return context.params.get("target") is not None and target >= max(others)


def given_here(context: typer.Context, name: str) -> bool:
    """Whether the command line itself has the parameter, and not the environment or the settings file."""
    return _source_of(context, name) == _SOURCES[-1]


def _source_of(context: typer.Context, name: str) -> str:
    return getattr(context.get_parameter_source(name), "name", "DEFAULT")


class Connection(NamedTuple):
    """How a command connects to a server, and who asks."""

    timeout: float
    """Deadline of each call, in seconds."""
    tls_server_ca: Path | None
    tls_cert: Path | None
    tls_key: Path | None
    token_file: Path | None

    def client(self, target: str) -> "Client":
        """A client of the server at `target`, with a certificate or a token if their files are named."""
        from remit.client import Client  # noqa: PLC0415 (a command that asks files needs no client)

        client = self.of(Client, target)
        err.note(f"asking {target}")
        return client

    def of(
        self,
        make: Callable[..., _Client],
        target: str,
        tokens: Callable[[], str] | None = None,
        act_for: Callable[[], str] | None = None,
    ) -> _Client:
        """A client of that class. `tokens` returns a token before each call, in place of the one in the file; `act_for`
        the person for whom it is made."""
        from remit.client import MutualTls  # noqa: PLC0415

        # gRPC would use 443 if there is no port, and the remainder of a port that is too large.
        try:
            if not target.startswith(("http://", "https://")):
                split_address("--target", target, least_port=1)
        except ValueError as error:
            fail(Exit.USAGE, str(error))
        timeout_s, ca, cert, key, token_file = self
        has_token = token_file is not None or tokens is not None
        if (ca is not None or cert is not None or key is not None or has_token) and (
            ca is None or (cert is None) != (key is None) or (cert is None and not has_token)
        ):
            fail(
                Exit.USAGE,
                "mutual TLS needs all of --tls-server-ca, --tls-cert and --tls-key; a token needs --tls-server-ca and "
                "--token-file. Variables such as REMIT_TLS_CERT and the settings file count as their options",
            )
        try:
            tls = MutualTls(ca, cert, key) if ca is not None and cert is not None and key is not None else None
            token = tokens if token_file is None else secret_in(token_file, "--token-file")
            more = {} if act_for is None else {"act_for": act_for}
            return make(
                target, timeout_s=timeout_s, tls=tls, server_ca=ca if tls is None else None, token=token, **more
            )
        except (ImportError, ValueError) as error:
            fail(Exit.USAGE, str(error))
        except OSError as error:
            named = error.filename is not None
            fail(Exit.USAGE, f"`{error.filename}` cannot be read: {error.strerror}" if named else str(error))


def connection_options(timeout_s: float) -> tuple[inspect.Parameter, ...]:
    """The options of a Connection. `timeout_s` is the default of `--timeout`."""
    return (
        option("timeout", TimeoutOption, timeout_s),
        option("tls_server_ca", CaOption),
        option("tls_cert", CertOption),
        option("tls_key", KeyOption),
        option("token_file", TokenOption),
    )


def with_connection(timeout_s: float) -> Callable[[Command], Command]:
    """Adds those options to a command that takes a Connection as `connection`."""
    return option_group("connection", Connection, connection_options(timeout_s))
