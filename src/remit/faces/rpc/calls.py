import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from time import perf_counter
from typing import Any, Final, NoReturn, cast

import grpc
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from remit.audit.entry import Then
from remit.audit.errors import AuditStoreError, JournalUnavailable
from remit.core.errors import MalformedQuestionError, RemitError
from remit.engine.inquiry import TooLargeError
from remit.faces.rpc.prompt import AT_ONCE, PromptCall
from remit.policy.archive import NotKeptError
from remit.policy.cell import RevisionNotCurrentError, TenantUnavailableError
from remit.policy.worker import WorkerEndedError
from remit.service.auditors import NotAnAuditorError
from remit.service.metrics import Metrics
from remit.service.point import Held
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


_STATUS_OF: Final[Mapping[type[Exception], grpc.StatusCode]] = {
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
AtOnce = Callable[[Any, grpc.ServicerContext], Held[Message] | None]
"""What a call is answered with, still held; None where that takes longer than a moment."""


class CallBoundary:
    """Around each call: names the caller, maps errors to statuses by one table, and measures.

    It wraps a servicer's methods once, when they are registered: grpcio's own interceptors are looked up and chained
    anew for every call, which costs as much as a decision.
    """

    def __init__(
        self, metrics: Metrics, let_go_then: Callable[[Held[Message], Then], bool], *, authenticated: bool
    ) -> None:
        self._metrics = metrics
        self._let_go_then = let_go_then
        self._authenticated = authenticated
        self._refusing = False

    def refuse(self) -> None:
        """New calls are UNAVAILABLE from now on; those in flight go on."""
        self._refusing = True

    def around(self, servicer: object, streams: ThreadPoolExecutor | None = None) -> Any:
        """The servicer with every method inside the boundary. Methods that stream hold a thread as long as they do, so
        they get those of `streams`."""
        at_once: Mapping[str, AtOnce] = getattr(servicer, AT_ONCE, {})
        return _Bounded(servicer, lambda method, behavior: self._around(method, behavior, streams, at_once.get(method)))

    def _around(
        self, method: str, behavior: Behavior, streams: ThreadPoolExecutor | None, at_once: AtOnce | None
    ) -> Behavior:
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

        if at_once is not None:
            setattr(answer, AT_ONCE, partial(self._answer_at_once, method, at_once))
        if not inspect.isgeneratorfunction(behavior):
            return answer
        stream.experimental_thread_pool = streams  # type: ignore[attr-defined]
        return stream

    def _answer_at_once(self, method: str, at_once: AtOnce, request: Any, call: PromptCall) -> bool:
        """False where the call needs a thread."""
        began = perf_counter()
        response = b""

        def finish(error: Exception | None) -> None:
            code = "OK"
            if error is None:
                call.answer(response)
            else:
                status = _status_of(error, call.context)
                code = status.name
                with suppress(Exception):
                    _abort(call.context, status, error)
                call.refuse()
            self._metrics.called(method, code, perf_counter() - began)

        def end(error: Exception | None) -> None:
            if call.let_go():
                finish(error)

        try:
            caller.set(caller_of(call.context) if self._authenticated else ANONYMOUS)
            held = (_refuse if self._refusing else at_once)(request, call.context)
            if held is None:
                return False
            response = call.serialized(held.answer)
        except Exception as error:  # noqa: BLE001 (the table's last row)
            finish(error)
            return True
        late = JournalUnavailable(f"the record was not on disk within {held.timeout_s} s; it may still be written")
        call.hold(held.timeout_s, lambda: end(late))
        try:
            # Without room for its records a thread has to wait for some.
            return self._let_go_then(held, end) or not call.let_go()
        except JournalUnavailable as error:
            end(error)
            return True


def status_of(error: type[Exception]) -> grpc.StatusCode:
    """By the table: that of the nearest of its bases, itself first; else INTERNAL."""
    return next((_STATUS_OF[each] for each in error.__mro__ if each in _STATUS_OF), grpc.StatusCode.INTERNAL)


def _status_of(error: Exception, context: grpc.ServicerContext) -> grpc.StatusCode:
    status = status_of(type(error))
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
            name = next((name for name in names if "://" in name), names[0])
            # A line break has no place in a record.
            return name if name.isprintable() else ascii(name)
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
