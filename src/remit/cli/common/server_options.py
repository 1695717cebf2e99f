from pathlib import Path
from typing import Annotated

import typer

from remit.cli.common.output import Exit, fail
from remit.client import Client, MutualTls
from remit.service.addresses import split_address

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
TokenOption = Annotated[
    Path | None, typer.Option("--token-file", help="A token that says who asks; needs TLS.", show_default=False)
]
TimeoutOption = Annotated[float, typer.Option("--timeout", help="Deadline of the call, in seconds.", min=0.001)]


def client_for(
    target: str,
    timeout_s: float,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
    token_file: Path | None = None,
) -> Client:
    """A client of the server at `target`, with a certificate or a token if their files are named."""
    # gRPC would use 443 if there is no port, and the remainder of a port that is too large.
    try:
        split_address("--target", target, least_port=1)
    except ValueError as error:
        fail(Exit.USAGE, str(error))
    if ca is None and cert is None and key is None and token_file is None:
        return Client(target, timeout_s=timeout_s)
    if ca is None or (cert is None) != (key is None) or (cert is None and token_file is None):
        fail(
            Exit.USAGE,
            "mutual TLS needs all of --tls-server-ca, --tls-cert and --tls-key; a token needs --tls-server-ca and "
            "--token-file",
        )
    try:
        tls = MutualTls(ca, cert, key) if cert is not None and key is not None else None
        token = token_file.read_text().strip() if token_file is not None else None
        return Client(target, timeout_s=timeout_s, tls=tls, server_ca=ca if tls is None else None, token=token)
    except OSError as error:
        fail(Exit.USAGE, f"`{error.filename}` cannot be read: {error.strerror}")
