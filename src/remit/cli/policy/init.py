import shlex
from collections.abc import Iterator
from enum import StrEnum
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Final

import typer

from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.output import Exit, err, fail, out
from remit.files import write_new
from remit.policy.read.tree import VOCABULARY

_POLICIES: Final = "policies"
_COMMON: Final = "common"


class PolicyTemplate(StrEnum):
    """What `remit init` can write."""

    MINIMAL = "minimal"
    COMPANY = "company"
    SAAS = "saas"


def init(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder of your project; a missing one is made.")
    ],
    template: Annotated[
        PolicyTemplate,
        typer.Option(
            help="`minimal`: one tenant, two roles. `company`: a tenant whose namespaces are business units that use one "
            "another. `saas`: a tenant for each customer, with the same roles in all."
        ),
    ] = PolicyTemplate.MINIMAL,
    as_json: JsonOption = False,
) -> None:
    """Write the first policies of a project, with tests, and the files for git, pre-commit and CI.

    Writes `policies/`, `README.md`, `.gitignore`, `.pre-commit-config.yaml` and `.github/workflows/policies.yaml`. Each
    template passes `remit validate`, `lint`, `fmt --check` and `test`. Changes no file that exists, and refuses a folder
    that holds policies. Writes all files or none.

    Example: `remit init access --template company`
    """
    if (directory / _POLICIES).exists() or (directory / VOCABULARY).exists():
        found = _POLICIES if (directory / _POLICIES).exists() else VOCABULARY
        fail(Exit.USAGE, f"`{directory}` holds policies already (`{found}`): name another folder")
    shipped = template_files(template)
    present = [path for path in shipped if (directory / path).exists()]
    try:
        write_new(directory, {path: content for path, content in shipped.items() if path not in present})
    except OSError as error:
        fail(Exit.UNAVAILABLE, f"nothing is written: `{error.filename or directory}`: {error.strerror or error}")
    to_folder = [] if directory.resolve() == Path.cwd() else [f"cd {shlex.quote(str(directory))}"]
    commands = [*to_folder, *_next_commands(shipped["README.md"].decode())]
    if as_json:
        written, kept = ([directory / path for path in shipped if (path in present) is old] for old in (False, True))
        print_json({"written": written, "kept": kept, "next": commands})
        return
    for path in present:
        err.print(f"`{directory / path}` exists and stays as it is{_MISSING.get(path, '')}")
    out.print(f"{len(shipped) - len(present)} files written to {directory}. Next:\n")
    for command in commands:
        out.print(f"  {command}")


def template_files(template: PolicyTemplate) -> dict[str, bytes]:
    """The files of a template, by path below the project's folder."""
    root = files("remit") / "templates"
    return {
        path: content
        for folder in (_COMMON, template)
        for path, content in sorted(_content(root / folder, ""), key=lambda each: each[0])
    }


def _content(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for each in folder.iterdir():
        if each.is_dir():
            yield from _content(each, f"{prefix}{each.name}/")
        else:
            yield f"{prefix}{each.name}", each.read_bytes()


def _next_commands(readme: str) -> list[str]:
    """The commands of the page's first example."""
    _, _, rest = readme.partition("```sh\n")
    return rest.partition("```")[0].splitlines()


_MISSING: Final = {
    ".gitignore": ": add the line `/var/`, where a server keeps its audit and revisions",
    ".pre-commit-config.yaml": ": docs/how-to/ci.md shows the hooks",
}
