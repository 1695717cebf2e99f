"""`remit audit`: read, prove and purge the audit store.

The folder has many modules because each command has its own module.
"""

import typer

from remit.cli.audit import (
    backup,
    checkpoint,
    count,
    drain,
    export,
    faults,
    follow,
    hash_name,
    keys,
    list_records,
    retain,
    show,
    verify,
)
from remit.cli.audit import explain as explain_
from remit.cli.audit import purge as purge_
from remit.cli.common.output import EXIT_CODES

# mypy needs the type here: `faults` starts the whole program, which closes a circle of imports.
app: typer.Typer = typer.Typer(
    help=f"Read, prove and purge the audit store: what was decided, for whom, by which rule, when.\n\n{EXIT_CODES}",
    no_args_is_help=True,
)
app.command("list")(list_records.list_records)
app.command()(show.show)
app.command()(follow.follow)
app.command()(count.count)
app.command()(explain_.explain)
app.command("explain-reach")(explain_.explain_reach)
app.command()(purge_.purge)
app.command()(verify.verify)
app.command()(checkpoint.checkpoint)
app.command()(export.export)
app.add_typer(keys.app, name="key")
app.command()(retain.retain)
app.command("hash")(hash_name.hash_)
app.command()(backup.backup)
app.command()(backup.restore)
app.command()(drain.drain)
app.command()(faults.faults)
