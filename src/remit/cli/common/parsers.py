"""Values of options and arguments, parsed from text, or read from the file that they name."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import typer

from remit.cli.common.output import Exit, fail
from remit.core.errors import InvalidNameError
from remit.core.names import parse_namespace, parse_tenant
from remit.files import cause_of

_Value = TypeVar("_Value")


def from_text(parse: Callable[[str], _Value], refused: type[Exception]) -> Callable[[str], _Value]:
    """A parser for Typer: an error of that type from `parse` is a usage error with the error's text."""

    def parsed(text: str) -> _Value:
        try:
            return parse(text)
        except refused as error:
            raise typer.BadParameter(str(error)) from None

    return parsed


tenant_from = from_text(parse_tenant, InvalidNameError)
namespace_from = from_text(parse_namespace, InvalidNameError)


def secret_in(file: Path, option: str) -> str:
    """The one line of a file that an option names. Ends the command if it has none, or more."""
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        fail(Exit.USAGE, f"{option}: `{file}` cannot be read: {cause_of(error)}")
    if not text or not text.isprintable():
        fail(Exit.USAGE, f"{option}: `{file}`: expected one line")
    return text
