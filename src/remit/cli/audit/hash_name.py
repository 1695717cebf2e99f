from pathlib import Path
from typing import Annotated

import typer

from remit.audit.redaction import RedactionKey, RedactionKeyError
from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.parsers import from_text


def hash_(
    value: Annotated[
        str, typer.Argument(metavar="VALUE", help="The original value of the field, for example `user:ada`.")
    ],
    key: Annotated[
        RedactionKey,
        typer.Option(
            "--key",
            parser=from_text(lambda path: RedactionKey.read(Path(path)), RedactionKeyError),
            envvar="REMIT_AUDIT_REDACT_KEY",
            metavar="FILE",
            help="The file of the setting `audit_redact_key`.",
            show_default=False,
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Print the hash that a redacted field holds in place of a value, to search for it with `remit audit list`.

    Example: `remit audit list --principal "$(remit audit hash user:ada --key redact.key)"`
    """
    hashed = key.hashed(value)
    if as_json:
        print_json({"hash": hashed})
    else:
        typer.echo(hashed)
