from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, NamedTuple, TypeVar

import typer

from remit.cli.common.option_group import option, option_group
from remit.cli.common.output import no_answer
from remit.cli.common.server_options import CaOption, CertOption, KeyOption, TargetOption, TimeoutOption, client_for
from remit.client import Client, DecisionUnavailable
from remit.core.errors import InvalidNameError, MalformedQuestionError
from remit.engine.inquiry import TooLargeError

_Response = TypeVar("_Response")

PoliciesOption = Annotated[
    Path, typer.Option("--policies", metavar="DIR", help="Without --target: answer from these files.")
]


class Backend(NamedTuple):
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


asks: Final = option_group(
    "place",
    Backend,
    (
        option("policies", PoliciesOption, Path("policies")),
        option("target", TargetOption),
        option("timeout", TimeoutOption, 5.0),
        option("tls_server_ca", CaOption),
        option("tls_cert", CertOption),
        option("tls_key", KeyOption),
    ),
)
"""Gives a command that takes a `place` the options that name it."""
