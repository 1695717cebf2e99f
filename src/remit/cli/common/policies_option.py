"""How a command is told its policy directory."""

from pathlib import Path
from typing import Annotated, Final

import typer

from remit.cli.common.option_group import option, option_group, where_option
from remit.cli.common.output import Exit, fail

PoliciesOption = Annotated[Path, where_option("--policies", "REMIT_POLICIES", "DIR", "The policy directory.")]
POLICIES_DEFAULT: Final = Path("policies")
DirectoryArgument = Annotated[
    Path | None, typer.Argument(metavar="DIR", help="The policy directory, in place of --policies.", show_default=False)
]


def directory_of(context: typer.Context, directory: Path | None, policies: Path) -> Path:
    """The directory that a command means. Ends the command if its line names two."""
    if directory is None:
        return policies
    if context.get_parameter_source("policies").name == "COMMANDLINE":  # type: ignore[union-attr]
        fail(Exit.USAGE, f"`{directory}` and --policies `{policies}` both name the policy directory: leave one out")
    return directory


with_policies: Final = option_group(
    "directory",
    directory_of,
    (
        option("context", typer.Context),
        option("directory", DirectoryArgument),
        option("policies", PoliciesOption, POLICIES_DEFAULT),
    ),
)
"""Decorates a command that takes a policy directory as `directory`: an argument, or `--policies`."""
