import json
import sys
from enum import IntEnum
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text


class _Terminal(Console):
    """Prints data: no text is read as markup, and what could steer a terminal is shown as an escape."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **{**options, "markup": False, "emoji": False})


# A pipe has no width: tables there are as wide as what they hold.
out = _Terminal(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else 400)
err = _Terminal(stderr=True, soft_wrap=True, highlight=False)


def printable(text: str) -> str:
    """The text with an escape for each character that is not printed, line feeds and tabs apart."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else f"\\u{ord(char):04x}" for char in text)


def styled(*parts: str | tuple[str, str]) -> Text:
    """Texts in a line, each alone or with its style. As a plain text, no markup is read from them."""
    pairs = ((each, "") if isinstance(each, str) else each for each in parts)
    return Text.assemble(*((printable(text), style) for text, style in pairs))


class Exit(IntEnum):
    """What the commands end with."""

    OK = 0
    """Allowed; files are fine; tests pass; engines agree."""
    NO = 1
    """Denied; files are refused; a test fails; engines differ; no such record."""
    USAGE = 2
    """A flag, an argument or a question is malformed."""
    UNAVAILABLE = 3
    """No answer: a server, store or directory is not there, or the server refuses to start."""


EXIT_CODES = "Exit codes: 0 yes (allowed, fine, passed), 1 no (denied, refused, failed), 2 wrong usage, 3 no answer."


def fail(code: Exit, message: str) -> NoReturn:
    err.print(message, style="red")
    raise typer.Exit(code)


def print_json(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value, indent=2))
