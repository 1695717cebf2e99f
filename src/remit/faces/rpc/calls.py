import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from time import perf_counter
from typing import Any, Final, NoReturn, cast

import grpc
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from remit.audit.errors import AuditStoreError, JournalUnavailable
from remit.core.errors import MalformedQuestionError, RemitError
from remit.engine.inquiry import TooLargeError
from remit.policy.archive import NotKeptError
from remit.policy.cell import RevisionNotCurrentError, TenantUnavailableError
from remit.policy.worker import WorkerEndedError
from remit.service.auditors import NotAnAuditorError
from remit.service.metrics import Metrics
from remit.service.reload import LoadingError, PinError

ANONYMOUS: Final = "anonymous"
"""The caller of a loopback address without TLS."""

caller: ContextVar[str] = ContextVar("caller")
"""Who asks, for the call being answered."""


class StoppingError(RemitError):
    """The server takes no new calls."""


class PageOfOldPolicyError(RemitError):
    """The policy has changed since the first page, so that the pages would not fit together."""


class CrowdedError(RemitError):
    """As many as may do this at a time do it already."""


class NoRecordError(RemitError):
    """There is nothing of what was asked for, or nothing that the caller may know of."""


class NoShadowError(RemitError):
    """The server has no candidate."""


class NotAnOperatorError(RemitError):
    """The caller may ask, and may not change what this node serves."""


_STATUS_OF: Final = {
    MalformedQuestionError: grpc.StatusCode.INVALID_ARGUMENT,
    RevisionNotCurrentError: grpc.StatusCode.FAILED_PRECONDITION,
    PageOfOldPolicyError: grpc.StatusCode.FAILED_PRECONDITION,
    TooLargeError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TenantUnavailableError: grpc.StatusCode.UNAVAILABLE,
    JournalUnavailable: grpc.StatusCode.UNAVAILABLE,
    StoppingError: grpc.StatusCode.UNAVAILABLE,
    LoadingError: grpc.StatusCode.UNAVAILABLE,
    WorkerEndedError: grpc.StatusCode.UNAVAILABLE,
    CrowdedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    AuditStoreError: grpc.StatusCode.UNAVAILABLE,
    NoRecordError: grpc.StatusCode.NOT_FOUND,
    NotAnAuditorError: grpc.StatusCode.PERMISSION_DENIED,
    NotKeptError: grpc.StatusCode.NOT_FOUND,
    PinError: grpc.StatusCode.FAILED_PRECONDITION,
    NoShadowError: grpc.StatusCode.FAILED_PRECONDITION,
    NotAnOperatorError: grpc.StatusCode.PERMISSION_DENIED,
}
_AFTER_WAITING: Final = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.FAILED_PRECONDITION}
_PASSED_S: Final = 0.001

_log = structlog.get_logger("remit.rpc")

Behavior = Callable[[Any, grpc.ServicerContext], Any]


class CallBoundary:
    """Around each call: names the caller, maps errors to statuses by one table, and measures.

    It wraps a servicer's methods once, when they are registered: grpcio's own interceptors are looked up and chained
    anew for every call, which costs as much as a decision.
    """

    def __init__(self, metrics: Metrics, *, authenticated: bool) -> None:
        self._metrics = metrics
        self._authenticated = authenticated
        self._refusing = False

    def refuse(self) -> None:
        """New calls are UNAVAILABLE from now on; those in flight go on."""
        self._refusing = True

    def around(self, servicer: object, streams: ThreadPoolExecutor | None = None) -> Any:
        """The servicer with every method inside the boundary. Methods that stream hold a thread as long as they do, so
        they get those of `streams`."""
        return _Bounded(servicer, lambda method, behavior: self._around(method, behavior, streams))

    def _around(self, method: str, behavior: Behavior, streams: ThreadPoolExecutor | None) -> Behavior:
        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            began = perf_counter()
            code = "OK"
            try:
                caller.set(caller_of(context) if self._authenticated else ANONYMOUS)
                return (_refuse if self._refusing else behavior)(request, context)
            except Exception as error:  # noqa: BLE001 (the table's last row)
                status = _status_of(error, context)
                code = status.name
                _abort(context, status, error)
            finally:
                self._metrics.called(method, code, perf_counter() - began)

        def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            began = perf_counter()
            code = "OK"
            try:
                caller.set(caller_of(context) if self._authenticated else ANONYMOUS)
                yield from (_refuse if self._refusing else behavior)(request, context)
            except GeneratorExit:
                code = grpc.StatusCode.CANCELLED.name
                raise
            except Exception as error:  # noqa: BLE001 (the table's last row)
                status = _status_of(error, context)
                code = status.name
                _abort(context, status, error)
            finally:
                self._metrics.called(method, code, perf_counter() - began)

        if not inspect.isgeneratorfunction(behavior):
            return answer
        stream.experimental_thread_pool = streams  # type: ignore[attr-defined]
        return stream


def _status_of(error: Exception, context: grpc.ServicerContext) -> grpc.StatusCode:
    status = _STATUS_OF.get(type(error), grpc.StatusCode.INTERNAL)
    # Who waits as long as the caller does gives up at the same moment: one of them must not say UNAVAILABLE.
    if status in _AFTER_WAITING and context.time_remaining() < _PASSED_S:
        return grpc.StatusCode.DEADLINE_EXCEEDED
    return status


class _Bounded:
    def __init__(self, servicer: object, around: Callable[[str, Behavior], Behavior]) -> None:
        self._servicer = servicer
        self._around = around

    def __getattr__(self, method: str) -> Behavior:
        return self._around(method, getattr(self._servicer, method))


def _refuse(request: Any, context: grpc.ServicerContext) -> NoReturn:
    del request, context
    raise StoppingError("the server is stopping")


def caller_of(context: grpc.ServicerContext) -> str:
    """The certificate's identity: its SPIFFE or other URI, else its first DNS name, else its common name."""
    # grpcio's stubs say `bytes` where it gives a list of them.
    identities: Mapping[str, Iterable[bytes]] = cast("Any", context.auth_context())
    for key in ("x509_subject_alternative_name", "x509_common_name"):
        names = [value.decode("utf-8", "replace") for value in identities.get(key, ())]
        if names:
            return next((name for name in names if "://" in name), names[0])
    return "unnamed certificate"


def _abort(context: grpc.ServicerContext, status: grpc.StatusCode, error: Exception) -> NoReturn:
    if isinstance(error, MalformedQuestionError):
        details = error_details_pb2.BadRequest()
        for each in error.violations:
            details.field_violations.add(field=each.field, description=each.description)
        packed = AnyMessage()
        packed.Pack(details)
        message = status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message=str(error), details=[packed])
        context.abort_with_status(rpc_status.to_status(message))
    if status is grpc.StatusCode.INTERNAL:
        _log.error("a call failed", exc_info=error)
        context.abort(status, "internal error; the server's log has it")
    context.abort(status, str(error))
    raise AssertionError("abort returned")
