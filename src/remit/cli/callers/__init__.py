"""`remit callers`: who may ask the server what, by the folder `_callers`."""

import typer

from remit.cli.callers import init_folder, list_rights, propose, replay
from remit.cli.common.output import EXIT_CODES

app = typer.Typer(
    help=f"Say who may ask the server what about which tenant: the folder `_callers` of the policies.\n\n{EXIT_CODES}",
    no_args_is_help=True,
)
app.command("init")(init_folder.init)
app.command("list")(list_rights.list_rights)
app.command()(propose.propose)
app.command()(replay.replay)
