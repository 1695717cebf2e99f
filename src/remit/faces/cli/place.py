import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import typer

from remit.client import Client, DecisionUnavailable
from remit.core.errors import InvalidNameError, MalformedQuestionError
from remit.engine.inquiry import TooLargeError
from remit.faces.cli.exits import no_answer
from remit.faces.cli.target import CaOption, CertOption, KeyOption, TargetOption, TimeoutOption, client_for

_Response = TypeVar("_Response")

PoliciesOption = Annotated[
    Path, typer.Option("--policies", metavar="DIR", help="Without --target: answer from these files.")
]


class Place(NamedTuple):
    """Where a command asks: in the files of a policy directory, or at a server where one is named."""

    policies: Path
    target: str | None
    timeout: float
    tls_server_ca: Path | None
    tls_cert: Path | None
    tls_key: Path | None

    def answer(self, locally: Callable[[], _Response], remotely: Callable[[Client], _Response]) -> _Response:
        """The answer of the one or the other; ends the command where there is none."""
        try:
            if self.target is None:
                return locally()
            with client_for(self.target, self.timeout, self.tls_server_ca, self.tls_cert, self.tls_key) as client:
                return remotely(client)
        except (DecisionUnavailable, MalformedQuestionError, InvalidNameError, TooLargeError) as error:
            no_answer(error)


_OPTIONS: Final = tuple(
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
    for name, annotation, default in (
        ("policies", PoliciesOption, Path("policies")),
        ("target", TargetOption, None),
        ("timeout", TimeoutOption, 5.0),
        ("tls_server_ca", CaOption, None),
        ("tls_cert", CertOption, None),
        ("tls_key", KeyOption, None),
    )
)


def asks(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command that takes a `place` the options that name it."""

    @wraps(command)
    def run(**given: Any) -> None:
        place = Place(**{option.name: given.pop(option.name) for option in _OPTIONS})
        command(**given, place=place)

    signature = inspect.signature(command)
    own = [parameter for parameter in signature.parameters.values() if parameter.name != "place"]
    run.__signature__ = signature.replace(parameters=[*own, *_OPTIONS])  # type: ignore[attr-defined]
    return run
