from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from time import perf_counter
from typing import Any, Final, NoReturn, TypeAlias, cast

import grpc
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from remit.audit.errors import STORE_AWAY, AuditStoreError, JournalUnavailable
from remit.audit.journal.pending import Then
from remit.core.errors import MalformedQuestionError, RemitError
from remit.engine.inquiry import TooLargeError
from remit.policy.live import RevisionNotCurrentError, TenantUnavailableError
from remit.policy.revisions.archive import RevisionNotStoredError
from remit.process.errors import ChildEndedError
from remit.rpc.admission import CallClass, CrowdedError, Refusals
from remit.rpc.identity import UnnamedCallerError, caller_of
from remit.rpc.inline_calls import ARRIVAL, STREAMS_REQUESTS, InlineCall
from remit.service.auditor_rights import NotAnAuditorError
from remit.service.callers import ANONYMOUS
from remit.service.decision_point import PendingAnswer
from remit.service.metrics import Metrics
from remit.service.reload.pins import PinError
from remit.service.reload.swap import LoadingError

caller: ContextVar[str] = ContextVar("caller")
"""Who asks, for the call being answered."""


class StoppingError(RemitError):
    """The server takes no new calls."""


class PageOfOldPolicyError(RemitError):
    """The policy has changed since the first page, so that the pages would not fit together."""


class RecordNotFoundError(RemitError):
    """There is nothing of what was asked for, or nothing that the caller may know of."""


class MalformedMessageError(RemitError):
    """What came is no message of the method's."""


class NoShadowError(RemitError):
    """The server has no candidate."""


class NotAnOperatorError(RemitError):
    """The caller may ask, and may not change what this node serves."""


_STATUS_OF: Final[Mapping[type[Exception], grpc.StatusCode]] = {
    MalformedQuestionError: grpc.StatusCode.INVALID_ARGUMENT,
    MalformedMessageError: grpc.StatusCode.INVALID_ARGUMENT,
    RevisionNotCurrentError: grpc.StatusCode.FAILED_PRECONDITION,
    PageOfOldPolicyError: grpc.StatusCode.FAILED_PRECONDITION,
    TooLargeError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TenantUnavailableError: grpc.StatusCode.UNAVAILABLE,
    JournalUnavailable: grpc.StatusCode.UNAVAILABLE,
    StoppingError: grpc.StatusCode.UNAVAILABLE,
    LoadingError: grpc.StatusCode.UNAVAILABLE,
    ChildEndedError: grpc.StatusCode.UNAVAILABLE,
    CrowdedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    AuditStoreError: grpc.StatusCode.UNAVAILABLE,
    RecordNotFoundError: grpc.StatusCode.NOT_FOUND,
    NotAnAuditorError: grpc.StatusCode.PERMISSION_DENIED,
    RevisionNotStoredError: grpc.StatusCode.NOT_FOUND,
    PinError: grpc.StatusCode.FAILED_PRECONDITION,
    NoShadowError: grpc.StatusCode.FAILED_PRECONDITION,
    NotAnOperatorError: grpc.StatusCode.PERMISSION_DENIED,
    UnnamedCallerError: grpc.StatusCode.UNAUTHENTICATED,
    # A method of a library's service that its servicer leaves out.
    NotImplementedError: grpc.StatusCode.UNIMPLEMENTED,
}
"""The status of an error, and of what is derived from it."""
_AFTER_WAITING: Final = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.FAILED_PRECONDITION}
_PASSED_S: Final = 0.001

_log = structlog.get_logger("remit.rpc")

Parse = Callable[[bytes], Any]
Behavior = Callable[[Any, grpc.ServicerContext], Any]
AtOnce = Callable[[Any, grpc.ServicerContext], PendingAnswer[Message] | None]
"""What a call is answered with, still held; None where that takes longer than a moment."""
AT_ONCE: Final = "at_once"
"""The attribute of a servicer with such functions, by method."""


Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class _Handlers:
    """What the generated functions add a servicer's methods to, in place of a server."""

    def __init__(self) -> None:
        self.services: dict[str, Mapping[str, Handler]] = {}

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """The same methods, to be looked up by name."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        self.services[service] = handlers


class _Method:
    """A method of a service, as the boundary sees it."""

    def __init__(self, name: str, handler: Handler, calls: CallClass, at_once: AtOnce | None) -> None:
        self.name = name
        self.handler = handler
        self.calls = calls
        self.at_once = at_once
        behavior = (
            handler.stream_stream
            if handler.request_streaming
            else handler.unary_stream
            if handler.response_streaming
            else handler.unary_unary
        )
        self.behavior = cast("Behavior", behavior)
        self._deserialize = cast("Parse", handler.request_deserializer)

    def parse(self, message: bytes) -> Any:
        """Raises MalformedMessageError."""
        try:
            return self._deserialize(message)
        except DecodeError:
            raise MalformedMessageError("what was sent is no message of this method, or not whole") from None

    def handled_by(self, bounded: Behavior) -> Handler:
        if self.handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(bounded, None, self.handler.response_serializer)
        if self.handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(bounded, None, self.handler.response_serializer)
        return grpc.unary_unary_rpc_method_handler(bounded, None, self.handler.response_serializer)


class CallBoundary:
    """Around each call: gives it a place, reads its message, names the caller, maps errors to statuses by one table, and
    measures.

    It wraps a servicer's methods once, when they are registered: grpcio's own interceptors are looked up and chained
    anew for every call, which costs as much as a decision. It reads the messages itself: where one that is malformed makes
    grpcio's deserializer raise, what grpcio keeps of the call is never freed.
    """

    def __init__(
        self,
        metrics: Metrics,
        let_go_then: Callable[[PendingAnswer[Message], Then], bool],
        refusals: Refusals,
        *,
        authenticated: bool,
        prompt: bool,
    ) -> None:
        """`prompt`: calls arrive as `InlineCall`s; else each comes in a thread of its own."""
        self._metrics = metrics
        self._let_go_then = let_go_then
        self._refusals = refusals
        self._authenticated = authenticated
        self._prompt = prompt
        self._refusing = False

    def refuse(self) -> None:
        """New calls are UNAVAILABLE from now on; those in flight go on."""
        self._refusing = True

    def add(
        self,
        server: grpc.Server,
        add: Callable[[Any, Any], None],
        servicer: object,
        calls: CallClass,
        *,
        at_once: CallClass | None = None,
        streams: CallClass | None = None,
    ) -> None:
        """Registers the servicer's methods inside the boundary, by the generated function `add`. They are of the class
        `calls`; those that it answers at once, or that stream, of that class where it is named."""
        prompt: Mapping[str, AtOnce] = getattr(servicer, AT_ONCE, {})
        found = _Handlers()
        add(servicer, found)
        for service, handlers in found.services.items():
            bounded = {}
            for name, handler in handlers.items():
                of = streams if handler.response_streaming else at_once if name in prompt else None
                shown = name if service.startswith("remit.") else f"{service.rpartition('.')[2]}/{name}"
                bounded[name] = self._around(_Method(shown, handler, of or calls, prompt.get(name)))
            server.add_registered_method_handlers(service, bounded)

    def _around(self, method: _Method) -> Handler:
        bounded: Any = self._streamed(method) if method.handler.response_streaming else self._answered(method)
        if self._prompt:
            setattr(bounded, ARRIVAL, partial(self._arrived, method))
            setattr(bounded, STREAMS_REQUESTS, method.handler.request_streaming)
        elif method.handler.response_streaming:
            bounded.experimental_thread_pool = method.calls.threads.pool
        return method.handled_by(bounded)

    def _answered(self, method: _Method) -> Behavior:
        behavior, parse = method.behavior, method.parse

        def answer(message: bytes, context: grpc.ServicerContext) -> Any:
            began = perf_counter()
            code = "OK"
            try:
                caller.set(self._caller(context))
                self._refuse_when_stopping(method)
                with self._place(method):
                    return behavior(parse(message), context)
            except Exception as error:  # noqa: BLE001 (the table's last row)
                status = _status_of(error, context)
                code = status.name
                _abort(context, status, error)
            finally:
                self._metrics.called(method.name, code, perf_counter() - began)

        return answer

    def _streamed(self, method: _Method) -> Behavior:
        behavior, parse = method.behavior, method.parse

        def stream(message: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            began = perf_counter()
            code = "OK"
            try:
                caller.set(self._caller(context))
                self._refuse_when_stopping(method)
                with self._place(method):
                    yield from behavior(
                        map(parse, message) if method.handler.request_streaming else parse(message), context
                    )
            except (GeneratorExit, grpc.RpcError):
                # The call is over. Who asks for the next request hears of it by an error of grpcio's.
                code = grpc.StatusCode.CANCELLED.name
                raise
            except Exception as error:  # noqa: BLE001 (the table's last row)
                status = _status_of(error, context)
                code = status.name
                _abort(context, status, error)
            finally:
                self._metrics.called(method.name, code, perf_counter() - began)

        return stream

    def _arrived(self, method: _Method, message: bytes, call: InlineCall) -> None:
        """In the thread that receives every call: must not take longer than a moment."""
        calls = method.calls
        who = ""
        try:
            who = self._caller(call.context)
            calls.places.enter(who)
        except CrowdedError as error:
            self._refusals.add(calls.places.calls, error.reason, who)
            call.turn_away(_status_of(error, call.context), str(error))
            return
        except Exception as error:  # noqa: BLE001 (the table's last row)
            with suppress(Exception):
                _abort(call.context, _status_of(error, call.context), error)
            call.refuse()
            return
        call.place, call.caller = calls.places, who
        caller.set(who)
        if method.at_once is None or not self._answer_at_once(method, method.at_once, message, call):
            calls.threads.run(who, partial(call.answer_in_thread, message))

    def _answer_at_once(self, method: _Method, at_once: AtOnce, message: bytes, call: InlineCall) -> bool:
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
            self._metrics.called(method.name, code, perf_counter() - began)

        def end(error: Exception | None) -> None:
            if call.let_go():
                finish(error)

        try:
            if self._refusing:
                self._refuse_when_stopping(method)
            held = at_once(method.parse(message), call.context)
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

    def _caller(self, context: grpc.ServicerContext) -> str:
        return caller_of(context) if self._authenticated else ANONYMOUS

    def _refuse_when_stopping(self, method: _Method) -> None:
        if self._refusing and not method.calls.while_stopping:
            raise StoppingError("the server is stopping")

    @contextmanager
    def _place(self, method: _Method) -> Iterator[None]:
        """A call that came as a `InlineCall` has its place by now."""
        if self._prompt:
            yield
            return
        calls = method.calls
        who = caller.get()
        try:
            calls.places.enter(who)
        except CrowdedError as error:
            self._refusals.add(calls.places.calls, error.reason, who)
            raise
        try:
            yield
        finally:
            calls.places.leave(who)


def status_of(error: type[Exception]) -> grpc.StatusCode:
    """By the table: that of the nearest of its bases, itself first; else INTERNAL."""
    return next((_STATUS_OF[each] for each in error.__mro__ if each in _STATUS_OF), grpc.StatusCode.INTERNAL)


def _status_of(error: Exception, context: grpc.ServicerContext) -> grpc.StatusCode:
    status = status_of(type(error))
    # Who waits as long as the caller does gives up at the same moment: one of them must not say UNAVAILABLE.
    if status in _AFTER_WAITING and context.time_remaining() < _PASSED_S:
        return grpc.StatusCode.DEADLINE_EXCEEDED
    return status


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
    context.abort(status, _shown(error))
    raise AssertionError("abort returned")


def _shown(error: Exception) -> str:
    """What the caller reads. The words of a store's driver name hosts, users and files: they are for the log."""
    if isinstance(error, JournalUnavailable):
        return error.shown
    if isinstance(error, AuditStoreError):
        _log.error("the audit store failed a call", error=str(error))
        return STORE_AWAY
    return str(error)
