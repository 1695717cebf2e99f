"""`remit authzen`: OpenID AuthZEN 1.0."""

import typer

from remit.cli.common import lazy
from remit.cli.common.help import PlainGroup
from remit.cli.common.output import EXIT_CODES

app = typer.Typer(
    cls=PlainGroup,
    rich_markup_mode=None,
    help=f"Try servers of OpenID AuthZEN 1.0, remit's own and others.\n\n{EXIT_CODES}",
    no_args_is_help=True,
)
lazy.add(
    app,
    {
        "conform": "remit.cli.authzen.conform:conform",
    },
)
