"""Where a command asks: at a running server, or in this process, where the server's servicers answer from policy files."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from math import inf
from pathlib import Path
from sys import maxsize
from typing import Annotated, Any, Final, NoReturn

import typer
from google.protobuf.message import Message

from remit import wire
from remit.audit.ids import DecisionIds
from remit.audit.journal.pending import Callback
from remit.cli.common.option_group import Command, option, option_group
from remit.cli.common.output import Exit, fail
from remit.cli.common.policy_files import FilePolicies
from remit.cli.common.server_options import CaOption, CertOption, KeyOption, TargetOption, TimeoutOption, client_for
from remit.client import Client, DecisionUnavailable
from remit.client.decode import known, told
from remit.client.stubs import METHODS
from remit.core.errors import FieldViolation, InvalidNameError, MalformedQuestionError, RemitError
from remit.rpc.access import AccessServicer
from remit.rpc.boundary import caller
from remit.rpc.query_servicer import QueryServicer
from remit.rpc.reach import ReachServicer
from remit.rpc.resources import ResourceServicer
from remit.rpc.search import SearchServicer
from remit.rpc.visibility import VisibilityServicer
from remit.service.callers import ANONYMOUS
from remit.service.decision_point import DecisionPoint
from remit.service.metrics import Metrics
from remit.v1.access_service_pb2 import CheckOperationRequest
from remit.v1.decision_pb2 import Receipt

PoliciesOption = Annotated[
    Path, typer.Option("--policies", metavar="DIR", help="Without --target: answer from these files.")
]

_SERVICERS: Final[Mapping[str, type[QueryServicer]]] = {
    "remit.v1.AccessService": AccessServicer,
    "remit.v1.ReachService": ReachServicer,
    "remit.v1.SearchService": SearchServicer,
    "remit.v1.ResourceService": ResourceServicer,
    "remit.v1.VisibilityService": VisibilityServicer,
}
_NO_WORDS: Final[Mapping[str, str]] = {}


class Backend(ABC):
    """Answers requests of the API."""

    @abstractmethod
    def ask(self, request: Message, arguments: Mapping[str, str] = _NO_WORDS) -> Any:
        """The response. Raises DecisionUnavailable or RemitError if there is none.

        `arguments` names the command's argument for a field of the request, if the two have different names.
        """


class RemoteBackend(Backend):
    """A running server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def ask(self, request: Message, arguments: Mapping[str, str] = _NO_WORDS) -> Any:
        del arguments  # the server's errors name fields
        response = self._client.ask(request)
        return known(response) if isinstance(request, CheckOperationRequest) else told(response)


class LocalBackend(Backend):
    """The server's servicers over the files of a policy directory. It records nothing, and needs no server."""

    def __init__(self, policies: Path) -> None:
        self._point = DecisionPoint("", FilePolicies(policies), _NoJournal(), DecisionIds(), Metrics(), 0.0)

    def ask(self, request: Message, arguments: Mapping[str, str] = _NO_WORDS) -> Any:
        _, service, method = METHODS[request.DESCRIPTOR.full_name].path.split("/")
        # The limits protect a server from its callers.
        servicer = _SERVICERS[service](
            self._point, batch_limit=maxsize, max_message_bytes=maxsize, call_timeout_s=inf, names_limit=maxsize
        )
        # Servicers change the request that they are given.
        received = type(request)()
        received.CopyFrom(request)
        caller.set(ANONYMOUS)
        try:
            return _without_ids(getattr(servicer, method)(received, _CallContext()))
        except MalformedQuestionError as error:
            fields = ((each.field.removeprefix("question."), each.description) for each in error.violations)
            violations = (FieldViolation(arguments.get(field, field), text) for field, text in fields)
            raise MalformedQuestionError(*violations) from None


class _NoJournal:
    """In the place of a journal: records go nowhere."""

    def offer(self, records: object, timeout_s: float | None, unrecorded: object, /) -> None:
        """Nothing to wait for."""

    def offer_then(self, records: object, callback: Callback, unrecorded: object, /) -> bool:
        del records, unrecorded
        callback(None)
        return True


class _CallContext:
    """The part of a `grpc.ServicerContext` that servicers read: a call without a deadline and without metadata.

    Servicers raise errors. Only the server's boundary turns an error into a status and aborts the call.
    """

    def time_remaining(self) -> float:
        return inf

    def invocation_metadata(self) -> tuple[()]:
        return ()


def _without_ids(response: Any) -> Any:
    """The response, in which no decision has an id: there is no record that it could name."""
    for message in (response, *getattr(response, "parts", ())):
        for field in {"decision", "receipt"}.intersection(message.DESCRIPTOR.fields_by_name):
            getattr(message, field).decision_id = ""
    return response


def _no_answer(error: DecisionUnavailable | RemitError) -> NoReturn:
    """Ends the command where there is no answer: the question is malformed, or nobody can answer it."""
    malformed = (
        isinstance(error, (MalformedQuestionError, InvalidNameError))
        or getattr(error, "code", "") == "INVALID_ARGUMENT"
    )
    fail(Exit.USAGE if malformed else Exit.UNAVAILABLE, str(error))


@contextmanager
def _backend(
    policies: Path,
    target: str | None,
    timeout: float,
    tls_server_ca: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
) -> Iterator[Backend]:
    """The server where one is named, else the files. Ends the command if there is no answer."""
    try:
        if target is None:
            yield LocalBackend(policies)
        else:
            with client_for(target, timeout, tls_server_ca, tls_cert, tls_key) as client:
                yield RemoteBackend(client)
    except (DecisionUnavailable, RemitError) as error:
        _no_answer(error)
    except UnicodeEncodeError as error:
        # An argument that is not UTF-8 cannot be sent.
        _no_answer(DecisionUnavailable("INVALID_ARGUMENT", str(error)))


_with_options: Final = option_group(
    "place",
    _backend,
    (
        option("policies", PoliciesOption, Path("policies")),
        option("target", TargetOption),
        option("timeout", TimeoutOption, 5.0),
        option("tls_server_ca", CaOption),
        option("tls_cert", CertOption),
        option("tls_key", KeyOption),
    ),
)


def asks(command: Command) -> Command:
    """Gives a command that takes a Backend as `place` the options that name it."""

    @wraps(command)
    def run(*, place: Any, **words: Any) -> None:
        with place as backend:
            command(**words, place=backend)

    return _with_options(run)


def end_where_refused(receipt: Receipt) -> None:
    """Ends the command where the answer is empty because of what was decided before any row."""
    reason = wire.REASON_OF.get(receipt.reason)
    if reason is not None:
        fail(Exit.NO, f"{reason}: {reason.meaning}")
