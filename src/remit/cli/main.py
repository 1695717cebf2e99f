"""The command line: registers every command of `remit`, and turns unexpected errors into exit codes."""

import os
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from remit.cli import audit, authzen, callers
from remit.cli.common import lazy
from remit.cli.common.output import EXIT_CODES, Exit, end_without_reader, err, out
from remit.core.names import quote
from remit.service.version import VERSION


class _Program(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Typer would exit with 1, which means no.
            end_without_reader()


app = typer.Typer(
    name="remit",
    cls=_Program,
    help="May this principal, in this tenant, do this action on this kind of resource in this namespace, "
    "and which rule says so?\n\n"
    "Policies are files, reviewed and tested like code. `serve` answers from them over gRPC and records every decision; the "
    "commands that ask do so of the files, or of a server with `--target`.\n\n"
    f"{EXIT_CODES}",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
)
lazy.add(
    app,
    {
        "serve": (
            "remit.cli.server.serve:serve",
            "Answer questions over gRPC from the policy files, and record every decision.",
        ),
        "status": (
            "remit.cli.server.status:status",
            "Show what a running server serves: each tenant's revision and state, and the audit store.",
        ),
        "rollback": (
            "remit.cli.server.rollback:rollback",
            "Serve a kept revision of a tenant on one server, whatever its files say, until `--unpin`.",
        ),
        "shadow": (
            "remit.cli.server.shadow:shadow",
            "Show which decisions since its load the candidate of a server's setting `shadow` would make otherwise.",
        ),
    },
    "Serve",
)
lazy.add(
    app,
    {
        "check": ("remit.cli.ask.check:check", "Ask one question: exits 0 on an allow, 1 on a deny."),
        "explain": (
            "remit.cli.ask.check:explain",
            "Ask one question and see why: the rule, the chain of rows to it, near misses, and what would allow.",
        ),
        "operation": (
            "remit.cli.ask.operation:operation",
            "Ask about a compound operation: several checks under one name, of which all must allow.",
        ),
        "reach": (
            "remit.cli.ask.reach:reach",
            "May work in CALLER use what OWNER owns, by RELATION, and which row says so? Exits 0 on an allow, 1 on a deny.",
        ),
        "reach-all": (
            "remit.cli.ask.reach:reach_all",
            "May work in CALLER use by RELATION what every one of these namespaces owns, and which refuse?",
        ),
        "who": (
            "remit.cli.ask.search:who",
            "List everybody who may do this, with the rule and the rows that lead to it.",
        ),
        "where": (
            "remit.cli.ask.search:where",
            "List the namespaces where somebody may do this, as patterns; by default where they may do anything at all.",
        ),
        "what": (
            "remit.cli.ask.search:what",
            "List what somebody may do in a namespace, or in the tenant itself, by kind.",
        ),
        "resolve": (
            "remit.cli.ask.resolve:resolve",
            "Show the storage, secrets backend and worker group that serve a namespace, and the level that assigns each.",
        ),
        "served": (
            "remit.cli.ask.resolve:served",
            "Show what a dedicated resource serves: namespaces of a tenant, or in `_instance` the tenants that may name it.",
        ),
        "graph": (
            "remit.cli.ask.graph:graph",
            "Draw a dependency graph as a principal sees it, with the dependencies that reach forbids.",
        ),
    },
    "Ask",
)
lazy.add(
    app,
    {
        "init": (
            "remit.cli.policy.init:init",
            "Write the first policies of a project, with tests, and the files for git, pre-commit and CI.",
        ),
        "validate": (
            "remit.cli.policy.validate:validate",
            "Check that every file loads: names, rows, roles, chains, manifests, and the form of tests.",
        ),
        "test": (
            "remit.cli.policy.test:test",
            "Run the tests of every tenant, on remit's engine and on Casbin over the same rows.",
        ),
        "verify": (
            "remit.cli.policy.validate:verify",
            "Ask remit's engine and Casbin the same questions over the same rows, and stop at the first difference.",
        ),
        "lint": (
            "remit.cli.policy.lint:lint",
            "Find rows, roles, groups and resources that do not do what they seem to do, or give more than they seem to give.",
        ),
        "fmt": (
            "remit.cli.policy.fmt:fmt",
            "Write policy files in canonical form: columns aligned, comments kept, the meaning unchanged.",
        ),
        "diff": (
            "remit.cli.policy.diff:diff",
            "Show which decisions change from OLD to NEW: who gains what where, and who loses what where.",
        ),
        "replay": (
            "remit.cli.server.replay:replay",
            "Decide recorded decisions again by these policies, and list what would change.",
        ),
        "export": (
            "remit.cli.policy.migrate:export",
            "Write one tenant's policy as plain Casbin: models, rows, and a README with what Casbin cannot know.",
        ),
    },
    "Work on policies",
)
imports = typer.Typer(
    help=f"Write policy files from another system's, and tell what was ambiguous or unsafe there.\n\n{EXIT_CODES}",
    no_args_is_help=True,
)
lazy.add(
    imports,
    {
        "casbin": (
            "remit.cli.policy.migrate:casbin",
            "Write policy files from a Casbin model and its rows, with Casbin's present answers as their tests.",
        ),
        "kestra": (
            "remit.cli.policy.migrate:kestra",
            "Write policy files from Kestra's roles and bindings, with what they grant as tests.",
        ),
    },
)
app.add_typer(imports, name="import", rich_help_panel="Work on policies")
app.add_typer(callers.app, name="callers", rich_help_panel="Work on policies")
app.add_typer(authzen.app, name="authzen", rich_help_panel="Serve")
app.add_typer(audit.app, name="audit", rich_help_panel="Remember")


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(VERSION)
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool, typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Print remit's version.")
    ] = False,
) -> None:
    del show_version


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
        # Help and completion say `remit`, however the program was started.
        app(prog_name="remit")
    except OSError as error:
        # A path that cannot be read is no answer: it must not exit as a no, whichever command met it.
        place = f"`{quote(os.fsdecode(error.filename), 300)}`: " if error.filename is not None else ""
        err.print(f"{place}{error.strerror or error}", style="red")
        sys.exit(Exit.UNAVAILABLE)
    except Exception:  # noqa: BLE001 (as Python does, with another exit code: 1 would mean no)
        traceback.print_exc()
        sys.exit(Exit.UNAVAILABLE)
