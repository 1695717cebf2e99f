from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

import typer

from remit.client import Client, DecisionUnavailable, MutualTls
from remit.core.errors import InvalidNameError, MalformedQuestionError
from remit.engine.inquiry import TooLargeError
from remit.faces.cli.exits import Exit, fail, no_answer

_Response = TypeVar("_Response")

TargetOption = Annotated[
    str | None, typer.Option("--target", metavar="HOST:PORT", help="Ask this running server.", show_default=False)
]
CaOption = Annotated[
    Path | None, typer.Option("--tls-server-ca", help="PEM: who signed the server's certificate.", show_default=False)
]
CertOption = Annotated[
    Path | None, typer.Option("--tls-cert", help="PEM: this client's certificate.", show_default=False)
]
KeyOption = Annotated[Path | None, typer.Option("--tls-key", help="PEM: its private key.", show_default=False)]
TimeoutOption = Annotated[float, typer.Option("--timeout", help="Deadline of the call, in seconds.", min=0.001)]


class Target(NamedTuple):
    """The server to ask, if one is to be asked: what the options of a command say."""

    address: str | None
    timeout_s: float
    ca: Path | None
    cert: Path | None
    key: Path | None


def answered(target: Target, locally: Callable[[], _Response], remotely: Callable[[Client], _Response]) -> _Response:
    """The answer of the server, or of the files where none is named; ends the command where there is no answer."""
    try:
        if target.address is None:
            return locally()
        with client_for(target.address, *target[1:]) as client:
            return remotely(client)
    except (DecisionUnavailable, MalformedQuestionError, InvalidNameError, TooLargeError) as error:
        no_answer(error)


def client_for(target: str, timeout_s: float, ca: Path | None, cert: Path | None, key: Path | None) -> Client:
    """A client of the server at `target`; by mutual TLS where its three files are named."""
    if ca is None and cert is None and key is None:
        return Client(target, timeout_s=timeout_s)
    if ca is None or cert is None or key is None:
        fail(Exit.USAGE, "mutual TLS needs all of --tls-server-ca, --tls-cert and --tls-key")
    try:
        return Client(target, timeout_s=timeout_s, tls=MutualTls(ca, cert, key))
    except OSError as error:
        fail(Exit.USAGE, f"`{error.filename}` cannot be read: {error.strerror}")
