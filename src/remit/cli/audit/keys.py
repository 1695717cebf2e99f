from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from remit.audit.chain.signing import PUBLIC_SUFFIX, AuditKeyError, PublicKey, SigningKey, public_file
from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.output import Exit, fail, out

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The private key, in PEM.")]


def new(file: FileArgument, as_json: JsonOption = False) -> None:
    """Make a key: FILE holds the private half, for its owner only, and FILE.pub the public half, for verifiers.

    The command never overwrites a file. The server reads the key from its setting `audit_key`.

    Example: `remit audit key new audit.pem`
    """
    try:
        key = SigningKey.new(file)
    except AuditKeyError as error:
        fail(Exit.UNAVAILABLE, str(error))
    _print(key.public, [file, public_file(file)], as_json=as_json)


def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The private key or its public half, in PEM.")],
    as_json: JsonOption = False,
) -> None:
    """Show the id and the public half of a key.

    Example: `remit audit key show audit.pem`
    """
    try:
        key = PublicKey.read(file) if file.suffix == PUBLIC_SUFFIX else SigningKey.read(file).public
    except AuditKeyError as error:
        fail(Exit.UNAVAILABLE, str(error))
    _print(key, [], as_json=as_json)


def _print(key: PublicKey, written: Sequence[Path], *, as_json: bool) -> None:
    if as_json:
        print_json({"key_id": key.id, "public_key": key.raw, "written": written})
        return
    out.print(f"{'key id':<12}{key.id}\n{'public key':<12}{key.raw.hex()}")
    if written:
        out.print(f"{'written':<12}{', '.join(map(str, written))}")
