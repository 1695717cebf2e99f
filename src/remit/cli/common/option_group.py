"""Options that several commands share. Each command receives one object made from them."""

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import typer

from remit.cli.common.help import WHERE

Command = Callable[..., None]


def option(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def where_option(flag: str, variable: str, metavar: str, text: str) -> Any:
    """An option of the section Where. A variable of the environment can say the same."""
    return typer.Option(flag, envvar=variable, metavar=metavar, help=text, rich_help_panel=WHERE)


def option_group(
    name: str, make: Callable[..., Any], options: Sequence[inspect.Parameter]
) -> Callable[[Command], Command]:
    """Adds options to a command, from which its parameter `name` is made. An option that the command has already, it
    keeps."""

    def give(command: Command) -> Command:
        signature = inspect.signature(command)
        own = {parameter.name: parameter for parameter in signature.parameters.values() if parameter.name != name}

        @wraps(command)
        def run(**words: Any) -> None:
            made = make(**{each.name: words[each.name] for each in options})
            command(**{each: words[each] for each in words if each in own}, **{name: made})

        added = [each for each in options if each.name not in own]
        run.__signature__ = signature.replace(parameters=[*own.values(), *added])  # type: ignore[attr-defined]
        return run

    return give
