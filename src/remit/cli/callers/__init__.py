"""`remit callers`: who may ask the server what, by the folder `_callers`."""

import typer

from remit.cli.common import lazy
from remit.cli.common.help import PlainGroup
from remit.cli.common.output import EXIT_CODES

app = typer.Typer(
    cls=PlainGroup,
    rich_markup_mode=None,
    help=f"Say who may ask the server what about which tenant: the folder `_callers` of the policies.\n\n{EXIT_CODES}",
    no_args_is_help=True,
)
lazy.add(
    app,
    {
        "init": "remit.cli.callers.init_folder:init",
        "list": "remit.cli.callers.list_rights:list_rights",
        "propose": "remit.cli.callers.propose:propose",
        "replay": "remit.cli.callers.replay:replay",
    },
)
