"""`remit authzen`: OpenID AuthZEN 1.0."""

import typer

from remit.cli.common import lazy
from remit.cli.common.output import EXIT_CODES

app = typer.Typer(
    help=f"Try servers of OpenID AuthZEN 1.0, remit's own and others.\n\n{EXIT_CODES}",
    no_args_is_help=True,
)
lazy.add(
    app,
    {
        "conform": (
            "remit.cli.authzen.conform:conform",
            "Try an AuthZEN server: send it the requests of the OpenID certification suite, and judge its answers.",
        ),
    },
)
