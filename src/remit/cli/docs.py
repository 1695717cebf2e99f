from pathlib import Path
from typing import Annotated

import typer

from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.output import Exit, fail, out
from remit.cli.common.pages import named, pages, title
from remit.cli.common.table import print_titles
from remit.core.hints import did_you_mean
from remit.core.names import quote


def docs(
    page: Annotated[
        str,
        typer.Argument(metavar="[PAGE]", help="`docs/how-to/install.md`, or its end: `install`.", show_default=False),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Print a page of the documentation, or list all pages.

    The pages are those of the installed version. A terminal shows them formatted, a pipe gets the Markdown.

    Example: `remit docs install`
    """
    known = pages()
    if not page:
        titles = {path: title(_text(file)) for path, file in known.items()}
        if as_json:
            print_json({"pages": [{"page": path, "title": each} for path, each in titles.items()]})
        else:
            print_titles(titles)
        return
    found = named(known, page)
    if len(found) > 1:
        fail(Exit.USAGE, f"`{quote(page)}` is the end of several pages: {', '.join(found)}")
    if not found:
        names = [path.removesuffix(".md").rpartition("/")[2] for path in known]
        fail(
            Exit.USAGE, f"there is no page `{quote(page)}`{did_you_mean(page, {*known, *names})} `remit docs` lists all"
        )
    text = _text(known[found[0]])
    if as_json:
        print_json({"page": found[0], "title": title(text), "markdown": text})
    else:
        print_markdown(text)


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def print_markdown(text: str) -> None:
    if out.is_terminal:
        from rich.markdown import Markdown  # noqa: PLC0415 (`lint` seldom needs it, and a pipe never)

        out.print(Markdown(text, hyperlinks=False), soft_wrap=False)
    else:
        typer.echo(text, nl=False)
