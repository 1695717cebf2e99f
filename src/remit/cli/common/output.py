import json
import os
import signal
import sys
from enum import IntEnum
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text


class _Terminal(Console):
    """Prints text without markup, and escapes characters that could control the terminal."""

    def on_broken_pipe(self) -> None:
        end_without_reader()

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **{**options, "markup": False, "emoji": False})


# A pipe has no width: there a table is as wide as its content.
out = _Terminal(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else 400)
err = _Terminal(stderr=True, soft_wrap=True, highlight=False)


def printable(text: str) -> str:
    """The text with each unprintable character escaped, except line feeds and tabs."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else f"\\u{ord(char):04x}" for char in text)


def styled(*parts: str | tuple[str, str]) -> Text:
    """Joins texts, each plain or with a style. Rich reads no markup in them."""
    pairs = ((each, "") if isinstance(each, str) else each for each in parts)
    return Text.assemble(*((printable(text), style) for text, style in pairs))


def end_without_reader() -> NoReturn:
    """Ends the command when nobody reads its output any more (`| head`), as SIGPIPE ends other programs."""
    # Python flushes what is left when it exits.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(128 + signal.SIGPIPE)


class Exit(IntEnum):
    """The exit codes of the commands."""

    OK = 0
    """Allowed; files load; tests pass; engines agree."""
    NO = 1
    """Denied; files are refused; a test fails; engines differ; no such record."""
    USAGE = 2
    """An option, an argument or a question is malformed."""
    UNAVAILABLE = 3
    """No answer: a server, store or directory is missing, or the server refuses to start."""


EXIT_CODES = "Exit codes: 0 yes (allowed, fine, passed), 1 no (denied, refused, failed), 2 wrong usage, 3 no answer."


def fail(code: Exit, message: str) -> NoReturn:
    err.print(message, style="red")
    raise typer.Exit(code)


def print_json(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value, indent=2))
