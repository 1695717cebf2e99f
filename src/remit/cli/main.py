"""The command line: registers every command of `remit`, and turns unexpected errors into exit codes."""

import os
import sys
import traceback
from typing import Final

import typer

from remit.cli import audit, callers
from remit.cli.ask import check, graph, operation, reach, resolve, search
from remit.cli.common.output import EXIT_CODES, Exit, err, out
from remit.cli.policy import diff, fmt, lint, migrate, test, validate
from remit.cli.server import replay, rollback, serve, shadow, status
from remit.core.names import quote
from remit.service.version import VERSION

app = typer.Typer(
    name="remit",
    help="May this principal, in this tenant, do this action on this kind of resource in this namespace, "
    "and which rule says so?\n\n"
    "Policies are files, reviewed and tested like code. `serve` answers from them over gRPC and records every decision; the "
    "commands that ask do so of the files, or of a server with `--target`.\n\n"
    f"{EXIT_CODES}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
)
_PANELS: Final = {
    "Serve": (serve.serve, status.status, rollback.rollback, shadow.shadow),
    "Ask": (
        *(
            check.check,
            check.explain,
            operation.operation,
            reach.reach,
            reach.reach_all,
            search.who,
            search.where,
            search.what,
        ),
        *(resolve.resolve, resolve.served, graph.graph),
    ),
    "Work on policies": (
        validate.validate,
        test.test,
        validate.verify,
        lint.lint,
        fmt.fmt,
        diff.diff,
        replay.replay,
        migrate.export,
    ),
}
for _panel, _commands in _PANELS.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)

app.add_typer(migrate.app, name="import", rich_help_panel="Work on policies")
app.add_typer(callers.app, name="callers", rich_help_panel="Work on policies")
app.add_typer(audit.app, name="audit", rich_help_panel="Remember")


@app.command(rich_help_panel="Remember")
def version() -> None:
    """Print remit's version."""
    out.print(VERSION)


def main() -> None:
    # Policy files are UTF-8: print them so in every locale of the terminal.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        app()
    except OSError as error:
        # A path that cannot be read is no answer: it must not exit as a no, whichever command met it.
        place = f"`{quote(os.fsdecode(error.filename), 300)}`: " if error.filename is not None else ""
        err.print(f"{place}{error.strerror or error}", style="red")
        sys.exit(Exit.UNAVAILABLE)
    except Exception:  # noqa: BLE001 (as Python does, with another exit code: 1 would mean no)
        traceback.print_exc()
        sys.exit(Exit.UNAVAILABLE)
