"""`remit audit`: a command a file."""

import typer

from remit.faces.cli.audit import counting, explaining, following, listing, purging, showing
from remit.faces.cli.exits import EXIT_CODES

app = typer.Typer(
    help=f"Read and purge the audit store: what was decided, for whom, by which rule, when.\n\n{EXIT_CODES}",
    no_args_is_help=True,
)
app.command("list")(listing.list_records)
app.command()(showing.show)
app.command()(following.follow)
app.command()(counting.count)
app.command()(explaining.explain)
app.command("explain-reach")(explaining.explain_reach)
app.command()(purging.purge)
