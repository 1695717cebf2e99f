import os
import signal
import sys
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


class _Output:
    """Standard output or standard error. Prints text itself: a short answer does not wait for the import of Rich."""

    def __init__(self, *, stderr: bool = False) -> None:
        self._stderr = stderr

    def print(self, value: Any = "", *, style: str | None = None, end: str = "\n", **options: Any) -> None:
        """Prints text without markup, its control characters escaped, or what else Rich can show."""
        if not isinstance(value, str) or "FORCE_COLOR" in os.environ:
            self.rich.print(value, style=style or None, end=end, **options)
            return
        text = printable(value)
        if style and self.is_terminal and _has_colours():
            text = typer.style(text, fg=style)
        typer.echo(f"{text}{end}", nl=False, err=self._stderr)

    def note(self, text: str) -> None:
        """Prints what only somebody at a terminal wants to know."""
        if self.is_terminal:
            self.print(text, style="bright_black")

    @property
    def is_terminal(self) -> bool:
        return (sys.stderr if self._stderr else sys.stdout).isatty()

    @cached_property
    def rich(self) -> "Console":
        return console(stderr=self._stderr, soft_wrap=True, highlight=False)


def _has_colours() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") not in {"dumb", "unknown"}


out = _Output()
err = _Output(stderr=True)


def console(**options: Any) -> "Console":
    """A console of Rich that prints text as `out` does: without markup, its control characters escaped."""
    from rich.console import Console  # noqa: PLC0415 (the import takes longer than a short answer)

    class Terminal(Console):
        def on_broken_pipe(self) -> None:
            end_without_reader()

        def render_str(self, text: str, **options: Any) -> "Text":
            return super().render_str(printable(text), **{**options, "markup": False, "emoji": False})

    return Terminal(**options)


def printable(text: str) -> str:
    """The text with each unprintable character escaped, except line feeds and tabs."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else f"\\u{ord(char):04x}" for char in text)


def styled(*parts: str | tuple[str, str]) -> "Text":
    """Joins texts, each plain or with a style. Rich reads no markup in them."""
    from rich.text import Text  # noqa: PLC0415 (as above)

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
