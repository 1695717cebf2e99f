"""The boundary around every call: credential, limits, place, right, status and metric.

The module is long because the order of these steps is one thing, and is read in one place.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from time import monotonic, perf_counter
from typing import Any, Final, TypeAlias, cast

import grpc
from google.protobuf.message import DecodeError, Message

from remit.audit.errors import JournalUnavailable
from remit.audit.journal.pending import Callback
from remit.rpc.admission import CallClass, Limiter, Refusals, SharedThreads
from remit.rpc.call_context import AT_ONCE, AtOnce, caller, still_called
from remit.rpc.call_limits import CallPlaces, HasPlaces, LimitedCalls, takes_turn
from remit.rpc.errors import (
    CrowdedError,
    LimitError,
    MalformedMessageError,
    Refusal,
    StoppingError,
    abort,
    details_of,
    status_in,
)
from remit.rpc.identity import CallerIdentities, Credential, CredentialLog
from remit.rpc.inline_calls import ARRIVAL, STREAMS_REQUESTS, InlineCall
from remit.rpc.rights import DEMANDS, Demand
from remit.service.caller_rights import CallerRights
from remit.service.callers import Caller
from remit.service.decision_point import PendingAnswer
from remit.service.errors import ForbiddenError
from remit.service.identities.errors import CredentialRefusedError, UnverifiedTokenError
from remit.service.limits import CallLimit, UsageMeter
from remit.service.metrics import Metrics
from remit.service.refused_calls import RefusedCalls

_BATCHES: Final = ("BatchCheck", "BatchCheckReach")
"""Methods whose requests have `questions`."""
_QUESTION_BYTES: Final = 40
"""A batch is not read before it is known who reads it, so its bytes tell its questions."""
UNVERIFIED: Final = "unverified tokens"
"""In metrics and the log, calls whose token is being verified."""
_MOST_UNVERIFIED: Final = 256
_VERIFYING_THREADS: Final = 2
_ATTEMPTS: Final = CallLimit(rate=10, burst=10)
"""Tokens of one connection that are refused. Past it none is verified for a moment: a signature costs much."""

Parse = Callable[[bytes], Any]
Behavior = Callable[[Any, grpc.ServicerContext], Any]


Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class _Handlers:
    """Stands in for a server when the generated functions add a servicer's methods."""

    def __init__(self) -> None:
        self.services: dict[str, Mapping[str, Handler]] = {}

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Ignores the generic handlers: they are the same methods, for look-up by name."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        self.services[service] = handlers


class _Method:
    """A method of a service, as the boundary uses it."""

    def __init__(
        self, name: str, handler: Handler, calls: CallClass, at_once: AtOnce | None, demand: Demand | None
    ) -> None:
        self.name = name
        self.demand = demand
        self.batch = name in _BATCHES
        self.weight = calls.weight
        # Streams have places of their own.
        self.counts = bool(calls.weight) and not handler.response_streaming
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
    """Wraps every call: gives it a place, parses its message, names its caller, maps errors to statuses, measures it.

    Wraps a servicer's methods once, when they are registered: grpcio looks up and chains its own interceptors for every
    call, which costs as much as a decision. Parses messages itself: if a malformed message makes grpcio's deserializer
    raise, grpcio never frees its state of the call.
    """

    def __init__(
        self,
        metrics: Metrics,
        commit_then: Callable[[PendingAnswer[Message], Callback], bool],
        *,
        refusals: Refusals,
        rights: CallerRights,
        forbidden: RefusedCalls,
        limited: LimitedCalls,
        identities: CallerIdentities,
        prompt: bool,
    ) -> None:
        """`prompt`: calls arrive as `InlineCall`s; otherwise every call comes in its own thread."""
        self._metrics = metrics
        self._commit_then = commit_then
        self._refusals = refusals
        self._rights = rights
        self._limited = limited
        self._forbidden = forbidden
        self._identities = identities
        self._credentials = CredentialLog()
        self._unverified = Limiter(UNVERIFIED, _MOST_UNVERIFIED)
        self._verifying = SharedThreads("remit-token", _VERIFYING_THREADS)
        self._attempts = UsageMeter(monotonic)
        self._prompt = prompt
        self._refusing = False

    def refuse(self) -> None:
        """Answers new calls with UNAVAILABLE from now on; calls in flight continue."""
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
        """Registers the servicer's methods inside the boundary, by the generated function `add`. They are of class
        `calls`, except methods in the servicer's `at_once`, which are of class `at_once` if it is given, and streams,
        which are of class `streams` if it is given."""
        prompt: Mapping[str, AtOnce] = getattr(servicer, AT_ONCE, {})
        found = _Handlers()
        add(servicer, found)
        for service, handlers in found.services.items():
            bounded = {}
            for name, handler in handlers.items():
                of = streams if handler.response_streaming else at_once if name in prompt else None
                shown = name if service.startswith("remit.") else f"{service.rpartition('.')[2]}/{name}"
                demand = DEMANDS[f"{service.rpartition('.')[2]}/{name}"]
                bounded[name] = self._around(_Method(shown, handler, of or calls, prompt.get(name), demand))
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
        def answer(message: Any, context: grpc.ServicerContext) -> Any:
            with self._call(method, context) as hold:
                # A request that the receiving thread could not answer is permitted already.
                request = self._permitted(method, message, hold) if isinstance(message, bytes) else message
                return method.behavior(request, context)

        return answer

    def _streamed(self, method: _Method) -> Behavior:
        def stream(message: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            with self._call(method, context) as hold:
                parse = partial(self._permitted, method, hold=hold)
                request = map(parse, message) if method.handler.request_streaming else parse(message)
                yield from method.behavior(request, context)

        return stream

    @contextmanager
    def _call(self, method: _Method, context: grpc.ServicerContext) -> Iterator[HasPlaces]:
        """Runs a call in a thread: sets its caller, takes a place, and reports its status and metric."""
        began = perf_counter()
        code = "OK"
        try:
            credential = self._identities.credential_of(context)
            asking = self._identities.caller_of(credential)
            caller.set(asking)
            still_called.set(partial(self._require_same, credential, asking))
            self._refuse_when_stopping(method)
            with self._place(method) as hold, method.calls.turn_in_thread(hold.caller):
                yield hold
        except (GeneratorExit, grpc.RpcError):
            # The stream is over: its reader left, or grpcio reports that no request follows.
            code = grpc.StatusCode.CANCELLED.name
            raise
        except Exception as error:  # noqa: BLE001 (the last row of the table of statuses)
            status = self._status(method, context, error)
            code = status.name
            abort(context, status, error)
        finally:
            self._metrics.called(method.name, code, perf_counter() - began)

    def _arrived(self, method: _Method, message: bytes, call: InlineCall) -> None:
        """Runs in the thread that receives every call: must not take long."""
        try:
            credential = self._identities.credential_of(call.context)
            try:
                asking = self._identities.caller_of(credential, may_wait=False)
            except UnverifiedTokenError:
                self._verify(method, message, call, credential)
                return
        except Exception as error:  # noqa: BLE001 (the last row of the table of statuses)
            self._refuse(method, call, error)
            return
        self._admit(method, message, call, asking, at_once=method.at_once)

    def _verify(self, method: _Method, message: bytes, call: InlineCall, credential: Credential) -> None:
        """Goes on in a thread: a signature takes as long as many decisions. Raises CrowdedError."""
        peer = call.context.peer()
        wait_s = self._attempts.charge(peer, _ATTEMPTS, 1)
        if wait_s:
            self._refusals.add(UNVERIFIED, "attempts", "")
            raise LimitError(Refusal.CALLER_RATE, "too many tokens of this connection were refused", wait_s)

        def verify() -> None:
            refused = False
            try:
                asking = self._identities.caller_of(credential)
            except Exception as error:  # noqa: BLE001 (the last row of the table of statuses)
                refused = isinstance(error, CredentialRefusedError)
                self._refuse(method, call, error)
                return
            finally:
                self._unverified.leave("")
                if not refused:
                    self._give_back(peer)
            # Only the receiving thread answers at once.
            self._admit(method, message, call, asking, at_once=None)

        try:
            self._unverified.enter("")
        except CrowdedError as error:
            self._give_back(peer)
            self._refusals.add(UNVERIFIED, error.reason, "")
            raise
        self._verifying.run("", verify)

    def _give_back(self, peer: str) -> None:
        """Only tokens that are refused count as attempts."""
        self._attempts.charge(peer, _ATTEMPTS, -1)

    def _refuse(self, method: _Method, call: InlineCall, error: Exception) -> None:
        """Ends a call that has no place yet."""
        status = self._status(method, call.context, error)
        with suppress(Exception):
            abort(call.context, status, error)
        call.refuse()
        self._metrics.called(method.name, status.name, 0.0)

    def _admit(
        self, method: _Method, message: bytes, call: InlineCall, asking: Caller, *, at_once: AtOnce | None
    ) -> None:
        """Gives the call a place, and answers it by `at_once` or gives it a thread."""
        calls = method.calls
        who = asking.principal
        try:
            self._enter(method, who, call)
        except CrowdedError as error:
            call.turn_away(status_in(call.context, error), str(error), details_of(error))
            return
        caller.set(asking)
        left: Any = message
        threads = calls.threads
        if at_once is not None:
            if self._turn(method, message, call):
                left = self._answer_at_once(method, at_once, message, call)
            else:
                threads = calls.without_turn or threads
        if left is not None:
            threads.run(who, partial(call.answer_in_thread, left))

    def _answer_at_once(self, method: _Method, at_once: AtOnce, message: bytes, call: InlineCall) -> Any:
        """None; or the request, permitted, if the call needs a thread."""
        began = perf_counter()
        response = b""

        def finish(error: Exception | None) -> None:
            code = "OK"
            if error is None:
                call.answer(response)
            else:
                status = self._status(method, call.context, error)
                code = status.name
                with suppress(Exception):
                    abort(call.context, status, error)
                call.refuse()
            self._metrics.called(method.name, code, perf_counter() - began)

        def end(error: Exception | None) -> None:
            if call.claim():
                finish(error)

        try:
            if self._refusing:
                self._refuse_when_stopping(method)
            request = self._permitted(method, message, call)
            held = at_once(request, call.context)
            if held is None:
                return request
            response = call.serialized(held.answer)
        except Exception as error:  # noqa: BLE001 (the last row of the table of statuses)
            finish(error)
            return None
        late = JournalUnavailable(f"the record was not on disk within {held.timeout_s} s; it may still be written")
        call.expire_after(held.timeout_s, lambda: end(late))
        try:
            # If there is no room for its records, a thread has to wait for some.
            return None if self._commit_then(held, end) or not call.claim() else request
        except JournalUnavailable as error:
            end(error)
            return None

    def _turn(self, method: _Method, message: bytes, call: InlineCall) -> bool:
        """Whether the receiving thread may answer the call."""
        turns = method.calls.turns
        if turns is None:
            return True
        return takes_turn(turns, len(message) // _QUESTION_BYTES + 1 if method.batch else 1, call)

    def _permitted(self, method: _Method, message: bytes, hold: HasPlaces) -> Any:
        """The request, if the caller may make it and the limits allow it. Raises MalformedMessageError, LimitError, and
        what `Demand.require` raises."""
        request = method.parse(message)
        asking = caller.get()
        weight = len(request.questions) if method.batch else method.weight
        try:
            if method.batch:
                self._limited.charge(asking.principal, weight)
            if method.demand is not None:
                tenant = method.demand.require(self._rights, asking, request)
                if weight and tenant:
                    self._limited.enter_tenant(tenant, weight, hold, counts=method.counts)
        except LimitError as error:
            self._refusals.add(method.calls.places.calls, error.reason, asking.principal)
            raise
        return request

    def _status(self, method: _Method, context: grpc.ServicerContext, error: Exception) -> grpc.StatusCode:
        if isinstance(error, ForbiddenError):
            self._forbidden.add(method.name, error)
        self._log_cause(error)
        return status_in(context, error)

    def _require_same(self, credential: Credential, asking: Caller) -> None:
        """Raises CredentialRefusedError if the credential does not name this caller any more."""
        if self._identities.caller_of(credential).principal != asking.principal:
            raise CredentialRefusedError(f"a stream of `{asking.principal}`, whose credential names another caller now")

    def _log_cause(self, error: Exception) -> None:
        if isinstance(error, CredentialRefusedError):
            self._credentials.add(error.cause)

    def _refuse_when_stopping(self, method: _Method) -> None:
        if self._refusing and not method.calls.while_stopping:
            raise StoppingError("the server is stopping")

    @contextmanager
    def _place(self, method: _Method) -> Iterator[HasPlaces]:
        """Takes a place, unless the call came as an `InlineCall` and already has one."""
        hold = CallPlaces(caller.get().principal)
        try:
            if not self._prompt:
                self._enter(method, hold.caller, hold)
            yield hold
        finally:
            if hold.place is not None:
                hold.place.leave(hold.caller)

    def _enter(self, method: _Method, who: str, hold: HasPlaces) -> None:
        """Takes a place. Raises CrowdedError, and counts it, if there is none or a limit of the caller is reached."""
        places = method.calls.places
        try:
            places.enter(who)
            hold.place, hold.caller = places, who
            if method.weight:
                self._limited.enter_caller(who, 0 if method.batch else method.weight, hold, counts=method.counts)
        except CrowdedError as error:
            self._refusals.add(places.calls, error.reason, who)
            raise
