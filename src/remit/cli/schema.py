import json
from pathlib import Path
from typing import Annotated

import typer

import remit
from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.output import Exit, fail
from remit.cli.common.table import print_titles
from remit.core.hints import did_you_mean
from remit.core.names import quote

_FOLDER = Path(remit.__file__).parent / "schemas"


def schema(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Of the list: `tests`.", show_default=False)] = "",
    as_json: JsonOption = False,
) -> None:
    """Print the JSON schema of a YAML file, or list all schemas.

    Editors complete and check YAML by a JSON schema. It knows keys, names and choices; `remit validate` knows more: whether
    a kind, an action or a resource exists. A schema is JSON, with and without `--json`.

    Example: `remit schema vocabulary`
    """
    schemas = {path.stem: path for path in sorted(_FOLDER.glob("*.json"))}
    if not name:
        titles = {each: json.loads(path.read_text(encoding="utf-8"))["title"] for each, path in schemas.items()}
        if as_json:
            print_json({"schemas": [{"name": each, "title": title} for each, title in titles.items()]})
        else:
            print_titles(titles)
        return
    if name not in schemas:
        hint = did_you_mean(name, schemas) or ";"
        fail(Exit.USAGE, f"there is no schema `{quote(name)}`{hint} there are {', '.join(schemas)}")
    typer.echo(schemas[name].read_text(encoding="utf-8"), nl=False)
