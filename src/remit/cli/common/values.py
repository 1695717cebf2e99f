"""Converts values of options and arguments, in place of Typer: its own conversion imports pydantic, which takes longer than
a short command, and speaks of its validators."""

from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Any, Final, get_args, get_origin

import typer

from remit.core.hints import did_you_mean
from remit.core.names import quote

_NUMBERS: Final[dict[Any, str]] = {int: "a whole number", float: "a number"}


def convert_here(param: Any) -> None:
    """Makes a parameter of a command convert its value by this module, if it is of a type that this module knows."""
    # Versions of Typer that have no such attribute do not use pydantic.
    if getattr(param, "_runtime_param", ...) is None and _known(_item(param.type_descriptor.annotation), param):
        param._runtime_param = _Conversion(param)  # noqa: SLF001 (Typer has no public way)


def choices(param: Any) -> list[str]:
    """The words that a parameter takes, if it takes words of a closed set."""
    item = _item(param.type_descriptor.annotation)
    return [str(each.value) for each in item] if _is_choice(item) else []


def _item(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is list else annotation


def _is_choice(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Enum)


def _known(item: Any, param: Any) -> bool:
    return (
        param.type_descriptor.parameter_info.parser is not None
        or item in {str, bool, Path, *_NUMBERS}
        or _is_choice(item)
    )


class _Conversion:
    def __init__(self, param: Any) -> None:
        info = param.type_descriptor.parameter_info
        self._item = _item(param.type_descriptor.annotation)
        self._parser = info.parser
        self._least, self._most = info.min, info.max

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """As Typer's own method of that name. Raises BadParameter, which says what is expected."""
        del ctx
        if param.multiple or param.nargs == -1:
            return [self._one(each) for each in value or ()]
        return None if value is None else self._one(value)

    def _one(self, value: Any) -> Any:
        if self._parser is not None:
            return self._parser(value)
        if _is_choice(self._item):
            return self._choice(value)
        if self._item in _NUMBERS:
            return self._number(value)
        return value if isinstance(value, self._item) else self._item(value)

    def _choice(self, value: Any) -> Any:
        if isinstance(value, self._item):
            return value
        words = {str(each.value): each for each in self._item}
        if value not in words:
            raise typer.BadParameter(not_one_of(value, words))
        return words[value]

    def _number(self, value: Any) -> Any:
        least = "" if self._least is None else f" from {self._least:,}"
        most = "" if self._most is None else f"{' to' if least else ' up to'} {self._most:,}"
        try:
            number = self._item(value)
        except ValueError:
            number = None
        # `nan` is in no range.
        if number is None or (least and not number >= self._least) or (most and not number <= self._most):
            raise typer.BadParameter(f"`{quote(str(value))}`: expected {_NUMBERS[self._item]}{least}{most}")
        return number


def not_one_of(text: str, words: Iterable[str]) -> str:
    """What to say of a word that is not in a closed set."""
    words = list(words)
    return f"`{quote(text)}`: expected one of {', '.join(f'`{each}`' for each in words)}{did_you_mean(text, words)}"
