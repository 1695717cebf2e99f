"""Commands about the policy store and the nodes that serve its releases. `remit fleet` has those that a server does not need."""

import typer

from remit.cli.common import lazy
from remit.cli.common.help import PlainGroup
from remit.cli.common.output import EXIT_CODES

app = typer.Typer(
    cls=PlainGroup,
    rich_markup_mode=None,
    help=f"Back up a policy store.\n\n{EXIT_CODES}",
    no_args_is_help=True,
)
lazy.add(
    app,
    {
        "backup": "remit.cli.fleet.backup:backup",
        "restore": "remit.cli.fleet.backup:restore",
    },
)

runtime = typer.Typer(
    cls=PlainGroup,
    rich_markup_mode=None,
    help=f"List, import and export what was granted at run time.\n\n{EXIT_CODES}",
    no_args_is_help=True,
)
lazy.add(
    runtime,
    {
        "list": "remit.cli.fleet.bindings:list_rows",
        "import": "remit.cli.fleet.bindings:import_file",
        "export": "remit.cli.fleet.bindings:export_file",
    },
)
