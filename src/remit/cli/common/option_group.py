"""Options that several commands share. Each command receives one object made from them."""

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

Command = Callable[..., None]


def option(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def option_group(
    name: str, make: Callable[..., Any], options: Sequence[inspect.Parameter]
) -> Callable[[Command], Command]:
    """Adds options to a command, from which its parameter `name` is made."""

    def give(command: Command) -> Command:
        @wraps(command)
        def run(**words: Any) -> None:
            made = make(**{each.name: words.pop(each.name) for each in options})
            command(**words, **{name: made})

        signature = inspect.signature(command)
        own = [parameter for parameter in signature.parameters.values() if parameter.name != name]
        run.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
        return run

    return give
