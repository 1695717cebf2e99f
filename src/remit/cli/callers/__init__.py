"""`remit callers`: who may ask the server what, by the folder `_callers`."""

import typer

from remit.cli.common import lazy
from remit.cli.common.output import EXIT_CODES

app = typer.Typer(
    help=f"Say who may ask the server what about which tenant: the folder `_callers` of the policies.\n\n{EXIT_CODES}",
    no_args_is_help=True,
)
lazy.add(
    app,
    {
        "init": (
            "remit.cli.callers.init_folder:init",
            "Write the folder `_callers` with the roles enforcer, reader, auditor and operator, and with nobody bound.",
        ),
        "list": (
            "remit.cli.callers.list_rights:list_rights",
            "List who may ask what about which tenant: by the files, or by a running server with `--target`.",
        ),
        "propose": (
            "remit.cli.callers.propose:propose",
            "Print rows for `_callers/bindings.csv` that allow what callers asked, by the records of the audit.",
        ),
        "replay": (
            "remit.cli.callers.replay:replay",
            "List recorded calls that the rows of `_callers` would refuse.",
        ),
    },
)
