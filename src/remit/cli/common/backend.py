"""Where a command asks: a running server, or the same servicers in this process over policy files."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from google.protobuf.message import Message

from remit import wire
from remit.cli.common.help import WHERE
from remit.cli.common.option_group import Command, option, option_group
from remit.cli.common.output import Exit, err, fail
from remit.cli.common.policies_option import POLICIES_DEFAULT, PoliciesOption
from remit.cli.common.server_options import Connection, TargetOption, connection_options, server_asked
from remit.client import Client, DecisionUnavailable, MalformedQuestion
from remit.client.decode import known, recorded
from remit.core.decision import Reason
from remit.core.errors import InvalidNameError, MalformedQuestionError, RemitError
from remit.v1.decision_pb2 import Decision, Receipt

AtLeastOption = Annotated[
    str,
    typer.Option(
        "--at-least",
        metavar="POSITION",
        help="Only a policy at this position or a later one may answer; needs --target.",
        show_default=False,
        rich_help_panel=WHERE,
    ),
]
_RECEIPTS: Final = {"decision", "receipt"}
"""The fields that name the record of an answer, if it has one record."""
_WORDS: Final = ": `remit explain` and `remit vocabulary` name those that there are"
_WHERE_WORDS_ARE: Final[Mapping[Reason, str]] = {
    Reason.UNKNOWN_KIND: _WORDS,
    Reason.UNKNOWN_ACTION: _WORDS,
    Reason.UNKNOWN_RELATION: _WORDS,
    Reason.UNKNOWN_TENANT: ": `remit status` lists the tenants",
}
"""For callers with the right to ask for that."""
NO_WORDS: Final[Mapping[str, str]] = {}


class Backend(ABC):
    """Answers requests of the API."""

    @abstractmethod
    def ask(self, request: Message, arguments: Mapping[str, str] = NO_WORDS) -> Any:
        """The response. Raises DecisionUnavailable or RemitError if there is none.

        `arguments` maps a request field to the command's argument, if their names differ.
        """

    def hint(self, request: Any, reason: Reason) -> str:
        """What to append to a reason that says that a word or the tenant is unknown: what there is. Otherwise empty."""
        del request, reason
        return ""


class RemoteBackend(Backend):
    """A running server. It names words in its explanations alone, as not every caller may ask for those."""

    def __init__(self, client: Client, at_least: str = "") -> None:
        self._client = client
        self._at_least = at_least

    def ask(self, request: Any, arguments: Mapping[str, str] = NO_WORDS) -> Any:
        del arguments  # the server's errors name fields
        request.at_least = self._at_least
        response = self._client.ask(request)
        return known(response) if _RECEIPTS.isdisjoint(response.DESCRIPTOR.fields_by_name) else recorded(response)

    def hint(self, request: Any, reason: Reason) -> str:
        del request
        return _WHERE_WORDS_ARE.get(reason, "")


def no_answer(error: DecisionUnavailable | RemitError, otherwise: str = "") -> NoReturn:
    """Ends the command where there is no answer: the question is malformed, or nobody can answer it.

    `otherwise` says whom else to ask if a server cannot be reached.
    """
    malformed = (
        isinstance(error, (MalformedQuestionError, InvalidNameError))
        or getattr(error, "code", "") == "INVALID_ARGUMENT"
    )
    hint = otherwise if getattr(error, "code", "") == "UNAVAILABLE" else ""
    fail(Exit.USAGE if malformed else Exit.UNAVAILABLE, f"{error}{hint}")


@contextmanager
def _backend(
    context: typer.Context, policies: Path, target: str | None, at_least: str, **connection: Any
) -> Iterator[Backend]:
    """The server if one is named, else the files. Ends the command if there is no answer."""
    try:
        if target is None or not server_asked(context, "policies"):
            if at_least:
                fail(Exit.USAGE, "--at-least needs a server: policy files have no positions, so add --target HOST:PORT")
            # A command that asks a server needs neither policy files nor servicers.
            from remit.cli.common.local_backend import LocalBackend  # noqa: PLC0415

            err.note(f"asking the files in `{policies}`")
            yield LocalBackend(policies)
        else:
            with Connection(**connection).client(target) as client:
                yield RemoteBackend(client, at_least)
    except (DecisionUnavailable, RemitError) as error:
        no_answer(error, "\n--policies DIR asks policy files instead")
    except UnicodeEncodeError as error:
        # An argument that is not UTF-8 cannot be sent.
        no_answer(MalformedQuestion(str(error)))


_with_options: Final = option_group(
    "backend",
    _backend,
    (
        option("context", typer.Context),
        option("policies", PoliciesOption, POLICIES_DEFAULT),
        option("target", TargetOption),
        option("at_least", AtLeastOption, ""),
        *connection_options(5.0),
    ),
)


def with_backend(command: Command) -> Command:
    """Adds the options that choose a Backend to a command that takes one as `backend`."""

    @wraps(command)
    def run(*, backend: Any, **words: Any) -> None:
        with backend as opened:
            command(**words, backend=opened)

    return _with_options(run)


def end_where_refused(receipt: Receipt, request: Message, backend: Backend) -> None:
    """Ends the command where the answer is empty because of what was decided before any row."""
    reason = wire.REASON_OF.get(receipt.reason)
    if reason is not None:
        fail(Exit.NO, f"{reason}: {reason.meaning}{backend.hint(request, reason)}")


def print_hint(decision: Decision, request: Message, backend: Backend) -> None:
    """Says which words or tenants there are, apart from the answer, if the decision names an unknown one."""
    reason = wire.REASON_OF.get(decision.reason)
    if reason is not None and (hint := backend.hint(request, reason)):
        err.print(f"{reason.meaning}{hint}")
