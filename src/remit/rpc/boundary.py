"""The boundary around every call: credential, limits, place, right, status and metric.

The module is long because the order of these steps is one thing, and is read in one place.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import copy
from functools import partial
from itertools import chain
from time import monotonic, perf_counter
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias, cast

import grpc
from google.protobuf.message import DecodeError, Message

from remit.audit.errors import JournalUnavailable
from remit.audit.journal.pending import Callback
from remit.rpc.admission import CallClass, Limiter, Refusals, SharedThreads
from remit.rpc.arrived_call import ArrivedCall, PermittedRequest
from remit.rpc.call_context import AT_ONCE, AtOnce, CallContext, caller, still_called
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
from remit.rpc.inline_calls import ARRIVAL, STREAMS_REQUESTS
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

Parse = Callable[[Any], Any]
Serialize = Callable[[Any], Any]
Behavior = Callable[[Any, Any], Any]
"""A function of the request and its `CallContext`."""


Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class _Handlers:
    """Stands in for a server when the generated functions add a servicer's methods."""

    def __init__(self) -> None:
        self.services: dict[str, Mapping[str, Handler]] = {}

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Ignores the generic handlers: they are the same methods, for look-up by name."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        self.services[service] = handlers


class CallMethod:
    """A method of a service, or a call of another kind, as the boundary uses it."""

    def __init__(
        self,
        name: str,
        behavior: Behavior,
        calls: CallClass,
        *,
        parse: Parse,
        serialize: Serialize,
        at_once: AtOnce | None = None,
        demand: Demand | None = None,
        batch: bool = False,
        streams_requests: bool = False,
        streams_responses: bool = False,
    ) -> None:
        """`name` stands in metrics and in the audit. `behavior` answers in a thread, `at_once` without one.

        `parse` may raise DecodeError for what is no message, and MalformedQuestionError. `batch`: requests have
        `questions`, each of which counts; otherwise a call counts as many as its class says.
        """
        self.name = name
        self.behavior = behavior
        self.calls = calls
        self.parse_message = parse
        self.serialize = serialize
        self.at_once = at_once
        self.demand = demand
        self.batch = batch
        self.streams_requests = streams_requests
        self.streams_responses = streams_responses
        self.weight = calls.weight
        # Streams have places of their own.
        self.counts = bool(calls.weight) and not (streams_responses or streams_requests)

    def spoken(self, parse: Parse, serialize: Serialize) -> "CallMethod":
        """The same method for messages in another encoding."""
        other = copy(self)
        other.parse_message, other.serialize = parse, serialize
        return other

    def in_thread(self) -> "CallMethod":
        """The same method for messages that take long to parse."""
        other = copy(self)
        other.at_once = None
        return other

    def parse(self, message: Any) -> Any:
        """Raises MalformedMessageError, and MalformedQuestionError."""
        try:
            return self.parse_message(message)
        except DecodeError:
            raise MalformedMessageError("what was sent is no message of this method, or not whole") from None


class BoundMethod(NamedTuple):
    """A method inside the boundary."""

    arrive: Callable[[Any, ArrivedCall], None]
    """Takes a call and its message, and sees to it that the call ends. Must be called in a thread that may not wait."""
    behavior: Behavior
    """What `ArrivedCall.answer_in_thread` calls, with the request that it gets and the context of the call."""


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
        """`prompt`: calls over gRPC arrive as `InlineCall`s; otherwise each comes in its own thread."""
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

        self.methods: dict[str, CallMethod] = {}
        """The methods of the services, as `remit.v1.AccessService/Check`."""

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
        others: Mapping[str, CallClass] = MappingProxyType({}),
    ) -> None:
        """Registers the servicer's methods inside the boundary, by the generated function `add`. They are of class
        `calls`, except methods in the servicer's `at_once`, which are of class `at_once` if it is given, the methods that
        `others` names, and other streams of responses, which are of class `streams` if it is given."""
        prompt: Mapping[str, AtOnce] = getattr(servicer, AT_ONCE, {})
        found = _Handlers()
        add(servicer, found)
        for service, handlers in found.services.items():
            bounded = {}
            for name, handler in handlers.items():
                of = streams if handler.response_streaming else at_once if name in prompt else None
                of = others.get(name) or of
                shown = name if service.startswith("remit.") else f"{service.rpartition('.')[2]}/{name}"
                demand = DEMANDS[f"{service.rpartition('.')[2]}/{name}"]
                method = _method(shown, handler, of or calls, prompt.get(name), demand)
                self.methods[f"{service}/{name}"] = method
                bounded[name] = self._handler(method)
            server.add_registered_method_handlers(service, bounded)

    def bind(self, method: CallMethod) -> BoundMethod:
        """Puts the boundary around a method whose calls come as `ArrivedCall`s."""
        bounded = self._streamed(method) if method.streams_responses else self._answered(method)
        return BoundMethod(partial(self._arrived, method), bounded)

    def _handler(self, method: CallMethod) -> Handler:
        bound = self.bind(method)
        if self._prompt:
            bounded: Any = bound.behavior
            setattr(bounded, ARRIVAL, bound.arrive)
            setattr(bounded, STREAMS_REQUESTS, method.streams_requests)
        else:
            bounded = (
                self._streamed(method, placed=False)
                if method.streams_responses
                else self._answered(method, placed=False)
            )
            if method.streams_responses or method.streams_requests:
                bounded.experimental_thread_pool = method.calls.threads.pool
        if method.streams_requests and method.streams_responses:
            return grpc.stream_stream_rpc_method_handler(bounded, None, method.serialize)
        if method.streams_requests:
            return grpc.stream_unary_rpc_method_handler(bounded, None, method.serialize)
        if method.streams_responses:
            return grpc.unary_stream_rpc_method_handler(bounded, None, method.serialize)
        return grpc.unary_unary_rpc_method_handler(bounded, None, method.serialize)

    def _answered(self, method: CallMethod, *, placed: bool = True) -> Behavior:
        """`placed`: the call has its place already."""

        def answer(message: Any, context: CallContext) -> Any:
            with self._call(method, context, placed=placed) as hold:
                # A request that the receiving thread could not answer is permitted already.
                permitted = isinstance(message, PermittedRequest)
                request = message.request if permitted else self._requested(method, message, hold)
                return method.behavior(request, context)

        return answer

    def _streamed(self, method: CallMethod, *, placed: bool = True) -> Behavior:
        def stream(message: Any, context: CallContext) -> Iterator[Any]:
            with self._call(method, context, placed=placed) as hold:
                yield from method.behavior(self._requested(method, message, hold), context)

        return stream

    @contextmanager
    def _call(self, method: CallMethod, context: CallContext, *, placed: bool) -> Iterator[HasPlaces]:
        """Runs a call in a thread: sets its caller, takes a place, and reports its status and metric."""
        began = perf_counter()
        code = "OK"
        try:
            credential = self._identities.credential_of(context)
            asking = self._identities.caller_of(credential)
            caller.set(asking)
            still_called.set(partial(self._require_same, credential, asking))
            self._refuse_when_stopping(method)
            with self._place(method, placed=placed) as hold, method.calls.turn_in_thread(hold.caller):
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

    def _arrived(self, method: CallMethod, message: Any, call: ArrivedCall) -> None:
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

    def _verify(self, method: CallMethod, message: Any, call: ArrivedCall, credential: Credential) -> None:
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

    def _refuse(self, method: CallMethod, call: ArrivedCall, error: Exception) -> None:
        """Ends a call that has no place yet."""
        status = self._status(method, call.context, error)
        # First, as with every answer: whoever has it finds it counted.
        self._metrics.called(method.name, status.name, 0.0)
        with suppress(Exception):
            abort(call.context, status, error)
        call.refuse()

    def _admit(
        self, method: CallMethod, message: Any, call: ArrivedCall, asking: Caller, *, at_once: AtOnce | None
    ) -> None:
        """Gives the call a place, and answers it by `at_once` or gives it a thread."""
        calls = method.calls
        who = asking.counted
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

    def _answer_at_once(self, method: CallMethod, at_once: AtOnce, message: Any, call: ArrivedCall) -> Any:
        """None; or the `PermittedRequest` request if the call needs a thread."""
        began = perf_counter()
        response: Any = b""

        def finish(error: Exception | None) -> None:
            if error is None:
                self._metrics.called(method.name, "OK", perf_counter() - began)
                call.answer(response)
            else:
                status = self._status(method, call.context, error)
                self._metrics.called(method.name, status.name, perf_counter() - began)
                with suppress(Exception):
                    abort(call.context, status, error)
                call.refuse()

        def end(error: Exception | None) -> None:
            if call.claim():
                finish(error)

        try:
            if self._refusing:
                self._refuse_when_stopping(method)
            request = self._permitted(method, message, call)
            held = at_once(request, call.context)
            if held is None:
                return PermittedRequest(request)
            response = call.serialized(held.answer)
        except Exception as error:  # noqa: BLE001 (the last row of the table of statuses)
            finish(error)
            return None
        late = JournalUnavailable(f"the record was not on disk within {held.timeout_s} s; it may still be written")
        call.expire_after(held.timeout_s, lambda: end(late))
        try:
            # If there is no room for its records, a thread has to wait for some.
            return None if self._commit_then(held, end) or not call.claim() else PermittedRequest(request)
        except JournalUnavailable as error:
            end(error)
            return None

    def _turn(self, method: CallMethod, message: Any, call: ArrivedCall) -> bool:
        """Whether the receiving thread may answer the call."""
        turns = method.calls.turns
        if turns is None:
            return True
        return takes_turn(turns, len(message) // _QUESTION_BYTES + 1 if method.batch else 1, call)

    def _requested(self, method: CallMethod, message: Any, hold: HasPlaces) -> Any:
        """What the method gets: the request, or the requests of a stream, the first of which says what is asked."""
        if not method.streams_requests:
            return self._permitted(method, message, hold)
        if method.streams_responses:
            return map(partial(self._permitted, method, hold=hold), message)
        return self._uploaded(method, message, hold)

    def _uploaded(self, method: CallMethod, messages: Iterator[Any], hold: HasPlaces) -> Iterator[Any]:
        """Whoever may not make the first request learns nothing else."""
        first = next(messages, None)
        if first is None:
            raise MalformedMessageError("there is no message: the first one of a stream says what is asked")
        return chain((self._permitted(method, first, hold),), map(method.parse, messages))

    def _permitted(self, method: CallMethod, message: Any, hold: HasPlaces) -> Any:
        """The request, if the caller may make it and the limits allow it. Raises MalformedMessageError, LimitError, and
        what `Demand.require` raises."""
        request = method.parse(message)
        asking = caller.get()
        weight = len(request.questions) if method.batch else method.weight
        try:
            if method.batch:
                self._limited.charge(asking.counted, weight)
            if method.demand is not None:
                tenant = method.demand.require(self._rights, asking, request)
                if weight and tenant:
                    self._limited.enter_tenant(tenant, weight, hold, counts=method.counts)
        except LimitError as error:
            self._refusals.add(method.calls.places.calls, error.reason, asking.counted)
            raise
        return request

    def _status(self, method: CallMethod, context: CallContext, error: Exception) -> grpc.StatusCode:
        if isinstance(error, ForbiddenError):
            self._forbidden.add(method.name, error)
        self._log_cause(error)
        return status_in(context, error)

    def _require_same(self, credential: Credential, asking: Caller) -> None:
        """Raises CredentialRefusedError if the credential does not name this caller any more."""
        found = self._identities.caller_of(credential)
        if (found.principal, found.actor) != (asking.principal, asking.actor):
            raise CredentialRefusedError(f"a stream of `{asking.principal}`, whose credential names another caller now")

    def _log_cause(self, error: Exception) -> None:
        if isinstance(error, CredentialRefusedError):
            self._credentials.add(error.cause)

    def _refuse_when_stopping(self, method: CallMethod) -> None:
        if self._refusing and not method.calls.while_stopping:
            raise StoppingError("the server is stopping")

    @contextmanager
    def _place(self, method: CallMethod, *, placed: bool) -> Iterator[HasPlaces]:
        """Takes a place, unless the call has one already."""
        hold = CallPlaces(caller.get().counted)
        try:
            if not placed:
                self._enter(method, hold.caller, hold)
            yield hold
        finally:
            if hold.place is not None:
                hold.place.leave(hold.caller)

    def _enter(self, method: CallMethod, who: str, hold: HasPlaces) -> None:
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


def _method(name: str, handler: Handler, calls: CallClass, at_once: AtOnce | None, demand: Demand | None) -> CallMethod:
    behavior = (
        (handler.stream_stream if handler.response_streaming else handler.stream_unary)
        if handler.request_streaming
        else handler.unary_stream
        if handler.response_streaming
        else handler.unary_unary
    )
    return CallMethod(
        name,
        cast("Behavior", behavior),
        calls,
        parse=cast("Parse", handler.request_deserializer),
        serialize=cast("Serialize", handler.response_serializer),
        at_once=at_once,
        demand=demand,
        batch=name in _BATCHES,
        streams_requests=handler.request_streaming,
        streams_responses=handler.response_streaming,
    )
