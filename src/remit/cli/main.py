"""The command line: registers every command of `remit`, and turns unexpected errors into exit codes."""

import os
import sys
from typing import Annotated, Any

import typer

from remit.cli import audit, callers, fleet
from remit.cli.common import lazy
from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.help import PlainCommand, PlainGroup
from remit.cli.common.output import EXIT_CODES, Exit, end_without_reader, err, out
from remit.core.names import quote


class _Program(PlainGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Typer would exit with 1, which means no.
            end_without_reader()


app = typer.Typer(
    cls=_Program,
    rich_markup_mode=None,
    name="remit",
    help="May this principal, in this tenant, do this action on this kind of resource in this namespace, "
    "and which rule says so?\n\n"
    "Policies are files, reviewed and tested like code. `serve` answers from them over gRPC and records every decision; the "
    "commands that ask do so of the files, or of a server with `--target`.\n\n"
    f"{EXIT_CODES}",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
lazy.add(
    app,
    {
        "serve": "remit.cli.server.serve:serve",
        "status": "remit.cli.server.status:status",
        "console": "remit.cli.server.console:console",
        "rollback": "remit.cli.server.rollback:rollback",
        "shadow": "remit.cli.server.shadow:shadow",
        "publish": "remit.cli.fleet.publish:publish",
        "releases": "remit.cli.fleet.releases:releases",
        "nodes": "remit.cli.fleet.nodes:nodes",
        "grant": "remit.cli.fleet.grant:grant",
        "revoke": "remit.cli.fleet.grant:revoke",
        "drift": "remit.cli.fleet.drift:drift",
    },
    "Serve",
)
lazy.add(
    app,
    {
        "check": "remit.cli.ask.check:check",
        "explain": "remit.cli.ask.check:explain",
        "operation": "remit.cli.ask.operation:operation",
        "reach": "remit.cli.ask.reach:reach",
        "reach-all": "remit.cli.ask.reach:reach_all",
        "who": "remit.cli.ask.search:who",
        "held": "remit.cli.ask.search:held",
        "where": "remit.cli.ask.search:where",
        "what": "remit.cli.ask.search:what",
        "matrix": "remit.cli.ask.matrix:matrix",
        "names": "remit.cli.ask.names:names",
        "source": "remit.cli.ask.source:source",
        "tests": "remit.cli.ask.tests:tests",
        "vocabulary": "remit.cli.ask.names:vocabulary",
        "resolve": "remit.cli.ask.resolve:resolve",
        "served": "remit.cli.ask.resolve:served",
        "graph": "remit.cli.ask.graph:graph",
    },
    "Ask",
)
lazy.add(
    app,
    {
        "init": "remit.cli.policy.init:init",
        "validate": "remit.cli.policy.validate:validate",
        "test": "remit.cli.policy.test:test",
        "verify": "remit.cli.policy.validate:verify",
        "lint": "remit.cli.policy.lint:lint",
        "fmt": "remit.cli.policy.fmt:fmt",
        "diff": "remit.cli.policy.diff:diff",
        "replay": "remit.cli.server.replay:replay",
        "export": "remit.cli.policy.migrate:export",
    },
    "Work on policies",
)
imports = typer.Typer(
    cls=PlainGroup,
    rich_markup_mode=None,
    help=f"Write policy files from another system's, and tell what was ambiguous or unsafe there.\n\n{EXIT_CODES}",
    no_args_is_help=True,
)
lazy.add(
    imports,
    {
        "casbin": "remit.cli.policy.migrate:casbin",
        "kestra": "remit.cli.policy.migrate:kestra",
    },
)
app.add_typer(imports, name="import", rich_help_panel="Work on policies")
app.add_typer(fleet.runtime, name="bindings", rich_help_panel="Serve")
app.add_typer(callers.app, name="callers", rich_help_panel="Work on policies")
app.add_typer(fleet.app, name="fleet", rich_help_panel="Serve")
app.add_typer(audit.app, name="audit", rich_help_panel="Remember")


def _print_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool, typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Print remit's version.")
    ] = False,
) -> None:
    del show_version


lazy.add(app, {"docs": "remit.cli.docs:docs", "schema": "remit.cli.schema:schema"}, "Read")


@app.command(cls=PlainCommand, rich_help_panel="Read")
def version(as_json: JsonOption = False) -> None:
    """Print remit's version.

    Example: `remit version`
    """
    from remit.service.version import VERSION  # noqa: PLC0415 (what finds it out takes longer than to show help)

    if as_json:
        print_json({"version": VERSION})
    else:
        out.print(VERSION)


def main() -> None:
    # Policy files are UTF-8: print them so in every locale of the terminal.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        # Help and completion say `remit`, however the program was started.
        app(prog_name="remit")
    except OSError as error:
        # A path that cannot be read is no answer: it must not exit as a no, whichever command met it.
        place = f"`{quote(os.fsdecode(error.filename), 300)}`: " if error.filename is not None else ""
        err.print(f"{place}{error.strerror or error}", style="red")
        sys.exit(Exit.UNAVAILABLE)
    except Exception:  # noqa: BLE001 (as Python does, with another exit code: 1 would mean no)
        import traceback  # noqa: PLC0415 (seldom needed)

        traceback.print_exc()
        sys.exit(Exit.UNAVAILABLE)
