import sys

import typer

from remit.faces.cli import ask, audit, exchange, policies, reach, search, serve, status
from remit.faces.cli.exits import EXIT_CODES, out
from remit.service.version import VERSION

app = typer.Typer(
    name="remit",
    help="May this principal, in this tenant, do this action on this kind of resource in this namespace, "
    "and which rule says so?\n\n"
    "Policies are files: `validate`, `test` and `verify` read them, `serve` answers from them over gRPC and records "
    "every decision, `check`, `explain`, `who`, `where`, `what` and `reach` ask, `audit` remembers. `import` and "
    "`export` lead from and to Casbin.\n\n"
    f"{EXIT_CODES}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
)
app.command(rich_help_panel="Serve and ask")(serve.serve)
app.command(rich_help_panel="Serve and ask")(ask.check)
app.command(rich_help_panel="Serve and ask")(ask.explain)
app.command(rich_help_panel="Serve and ask")(search.who)
app.command(rich_help_panel="Serve and ask")(search.where)
app.command(rich_help_panel="Serve and ask")(search.what)
app.command(rich_help_panel="Serve and ask")(reach.reach)
app.command(rich_help_panel="Serve and ask")(status.status)
app.command(rich_help_panel="Work on policies")(policies.validate)
app.command(rich_help_panel="Work on policies")(policies.test)
app.command(rich_help_panel="Work on policies")(policies.verify)
app.add_typer(exchange.app, name="import", rich_help_panel="Work on policies")
app.command(rich_help_panel="Work on policies")(exchange.export)

app.add_typer(audit.app, name="audit", rich_help_panel="Remember")


@app.command(rich_help_panel="Remember")
def version() -> None:
    """Print remit's version."""
    out.print(VERSION)


def main() -> None:
    # Policy files are UTF-8 whatever the terminal's locale is.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    app()
