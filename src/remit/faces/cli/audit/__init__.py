"""`remit audit`: a command a file."""

import typer

from remit.faces.cli.audit import checkpoint, faults, hashing, keys, purging, reading, retaining, verifying
from remit.faces.cli.exits import EXIT_CODES

app: typer.Typer = typer.Typer(
    help=f"Read, prove and purge the audit store: what was decided, for whom, by which rule, when.\n\n{EXIT_CODES}",
    no_args_is_help=True,
)
app.command("list")(reading.list_records)
app.command()(reading.show)
app.command()(purging.purge)
app.command()(verifying.verify)
app.command()(checkpoint.checkpoint)
app.add_typer(keys.app, name="key")
app.command()(retaining.retain)
app.command("hash")(hashing.hash_)
app.command()(faults.faults)
