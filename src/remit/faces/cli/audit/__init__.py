"""`remit audit`: a command a file."""

import typer

from remit.faces.cli.audit import (
    backup,
    checkpoint,
    counting,
    draining,
    explaining,
    exporting,
    faults,
    following,
    hashing,
    keys,
    listing,
    purging,
    retaining,
    showing,
    verifying,
)
from remit.faces.cli.exits import EXIT_CODES

# The type is named for mypy, which cannot see it through the circle that `faults` closes: it starts the whole program.
app: typer.Typer = typer.Typer(
    help=f"Read, prove and purge the audit store: what was decided, for whom, by which rule, when.\n\n{EXIT_CODES}",
    no_args_is_help=True,
)
app.command("list")(listing.list_records)
app.command()(showing.show)
app.command()(following.follow)
app.command()(counting.count)
app.command()(explaining.explain)
app.command("explain-reach")(explaining.explain_reach)
app.command()(purging.purge)
app.command()(verifying.verify)
app.command()(checkpoint.checkpoint)
app.command()(exporting.export)
app.add_typer(keys.app, name="key")
app.command()(retaining.retain)
app.command("hash")(hashing.hash_)
app.command()(backup.backup)
app.command()(backup.restore)
app.command()(draining.drain)
app.command()(faults.faults)
