"""Values of options and arguments, parsed from text."""

from collections.abc import Callable
from typing import TypeVar

import typer

from remit.core.errors import InvalidNameError
from remit.core.names import parse_namespace, parse_tenant

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
