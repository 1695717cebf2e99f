"""Calls that hold no thread while they wait for their message or their record.

grpcio passes a call to a thread of a pool, which waits there for the request and then for its record. That takes four
thread switches a call, and one costs as much as ten decisions. A call whose message never comes holds its thread
forever. Here the thread that receives calls decides everything that is quick, and the thread that wrote the record
sends the answer. Only slower calls get a thread, after their message has arrived. This relies on private parts of
grpcio (`grpc._server`). If one is missing, `supported` is False and every call gets a thread, as grpcio does it.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from math import ceil
from typing import Any, Final

import grpc
from google.protobuf.message import Message
from grpc import _server as _grpcio
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from remit.rpc.call_limits import Place
from remit.rpc.expiry import EXPIRY_EVERY_S, Expiry, survive

_PARTS: Final = (
    *(
        "_Context",
        "_RECEIVE_MESSAGE_TOKEN",
        "_OPEN",
        "_CLOSED",
        "_CANCELLED",
        "_abort",
        "_possibly_finish_call",
        "_status",
    ),
    *("_unary_response_in_pool", "_stream_response_in_pool"),
)
_DETAILS: Final = "grpc-status-details-bin"

ARRIVAL: Final = "arrival"
"""The attribute of a behavior: a function of the request's bytes and an `InlineCall`. It runs in the thread that
receives every call, and ensures that the call is answered, refused or given a thread."""
STREAMS_REQUESTS: Final = "streams_requests"
"""Another attribute: True if the method takes a stream of messages; then `ARRIVAL` gets no message, at once."""

_log = logging.getLogger("remit.rpc")


def supported() -> bool:
    return all(hasattr(_grpcio, part) for part in _PARTS) and hasattr(cygrpc, "ReceiveMessageOperation")


class CallThreads(ThreadPoolExecutor):
    """Replaces grpcio's thread pool: receives the message of a call, and gives the call no thread on its own."""

    def __init__(
        self,
        threads: int,
        expiry: Expiry,
        *,
        message_timeout_s: float,
        silent_calls: int,
        refused: Callable[[str], None],
    ) -> None:
        """At most `silent_calls` calls wait for their message at a time, up to `message_timeout_s` seconds. Calls
        `refused` with the reason when it ends such a call."""
        super().__init__(threads, thread_name_prefix="remit-call")
        self.supported = supported()
        self.message_timeout_s = message_timeout_s
        self._silent_calls = silent_calls
        self._refused = refused
        # Count rounds of the expiry thread, not time: after the process stood still, messages may have come but not
        # been received.
        self._looks = 0
        self._message_looks = ceil(message_timeout_s / EXPIRY_EVERY_S) + 1
        # Threads share it, and change it in single steps of the interpreter.
        self._silent: OrderedDict[InlineCall, int] = OrderedDict()
        self.expiry = expiry
        expiry.at_each_look(self._look)

    @property
    def silent(self) -> int:
        """Calls that wait for their message."""
        return len(self._silent)

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        if self.supported:
            call = InlineCall(self, fn, args)
            if args[3].streams_requests:
                call.arrive(b"")
                return call
            return call.receive()
        return super().submit(fn, *args, **kwargs)

    def await_message(self, call: "InlineCall") -> None:
        if len(self._silent) >= self._silent_calls:
            with suppress(KeyError):  # all of them have just expired
                oldest, _ = self._silent.popitem(last=False)
                self._refused("silent callers")
                oldest.end(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls wait for their message: try again")
        self._silent[call] = self._looks + self._message_looks

    def has_message(self, call: "InlineCall") -> bool:
        """False if the message comes too late: the call has been ended."""
        return self._silent.pop(call, None) is not None

    def end_silent(self, call: "InlineCall") -> None:
        """Ends a call whose message did not come in time."""
        self._refused("no message")
        call.end(grpc.StatusCode.DEADLINE_EXCEEDED, f"no message within {self.message_timeout_s:g} s")

    def _look(self) -> None:
        self._looks += 1
        for call, last_look in list(self._silent.items()):
            if last_look > self._looks:
                break  # the others are younger
            if self.has_message(call):
                survive(partial(self.end_silent, call))


class InlineCall:
    """One call, from arrival to answer. `submit` gives it to grpcio in place of a future."""

    __slots__ = (
        "_arguments",
        "_behavior",
        "_event",
        "_run",
        "_serialize",
        "_state",
        "_threads",
        "caller",
        "context",
        "place",
    )

    def __init__(self, threads: CallThreads, run: Any, arguments: tuple[Any, ...]) -> None:
        """`run` and `arguments` are what grpcio would run in a thread: a function of `_PARTS`, and its arguments."""
        self._threads = threads
        self._run = run
        self._arguments = arguments
        _, self._event, self._state, self._behavior, _, deserialize, self._serialize = arguments
        self.context: grpc.ServicerContext = _grpcio._Context(self._event, self._state, deserialize)
        self.place: Place | None = None
        """The place to give back when the call ends, under the name of its `caller`."""
        self.caller = ""

    def add_done_callback(self, ended: Callable[[Any], None]) -> None:
        """Like a future's. grpcio uses it to count calls in flight, for a limit that is not set here."""

    def receive(self) -> "InlineCall":
        """Asks for the request; the rest happens in the thread that receives it."""
        state = self._state

        def on_event(event: Any) -> Any:
            # As in grpcio, except that nobody waits to be notified.
            request = event.batch_operations[0].message()
            with state.condition:
                if request is None and state.client is _grpcio._OPEN:
                    state.client = _grpcio._CLOSED
                ending = _grpcio._possibly_finish_call(state, _grpcio._RECEIVE_MESSAGE_TOKEN)
            if self._threads.has_message(self):
                self.arrive(request)
            else:
                self._end()
            return ending

        self._threads.await_message(self)
        with state.condition:
            self._event.call.start_server_batch((cygrpc.ReceiveMessageOperation(0),), on_event)
            state.due.add(_grpcio._RECEIVE_MESSAGE_TOKEN)
        return self

    def arrive(self, request: bytes | None) -> None:
        try:
            if request is None:
                self._without_request()
            else:
                self._behavior.arrival(request, self)
        except Exception:  # noqa: BLE001 (it would end the thread that receives every call)
            _log.exception("a call failed")
            self.refuse()

    def expire_after(self, timeout_s: float, expired: Callable[[], None]) -> None:
        self._threads.expiry.expire_after(self, timeout_s, expired)

    def claim(self) -> bool:
        return self._threads.expiry.claim(self)

    def serialized(self, response: Message) -> bytes:
        return bytes(self._serialize(response))

    def answer(self, response: bytes) -> None:
        # The caller may use the place again as soon as it has the answer.
        self._end()
        _grpcio._status(self._event, self._state, response)

    def refuse(self) -> None:
        """Ends the call with the status that `context.abort` set, otherwise UNKNOWN."""
        with self._state.condition:
            if not self._state.statused:
                _grpcio._abort(self._state, self._event.call, cygrpc.StatusCode.unknown, b"")
        self._end()

    def end(self, code: grpc.StatusCode, details: str) -> None:
        """Ends the call from any thread, even if a thread waits for more of it."""
        self._event.call.cancel(code.value[0], details)

    def turn_away(self, code: grpc.StatusCode, text: str, details: bytes = b"") -> None:
        """Ends a call that nothing else handles. `details` is a serialized `google.rpc.Status`; empty for none."""
        if details:
            with self._state.condition:
                self._state.trailing_metadata = ((_DETAILS, details),)
                _grpcio._abort(self._state, self._event.call, code.value[0], text.encode())
        else:
            self.end(code, text)
        self._end()

    def answer_in_thread(self, request: object) -> None:
        """Answers the call in the current thread. `request` is what its behavior gets: the bytes that came, or more."""
        in_pool, event, state, behavior, argument, deserialize, serialize = self._arguments
        given: Any = self._in_time(argument()) if behavior.streams_requests else request
        try:
            self._run(in_pool, event, state, behavior, lambda: given, deserialize, serialize)
        finally:
            self._end()

    def _in_time(self, requests: Iterator[bytes]) -> Iterator[bytes]:
        """The requests of a stream, with a timeout for each."""
        while True:
            self.expire_after(self._threads.message_timeout_s, self._expired)
            try:
                request = next(requests)
            except StopIteration:
                return
            finally:
                self.claim()
            yield request

    def _expired(self) -> None:
        if self.claim():
            self._threads.end_silent(self)

    def _without_request(self) -> None:
        """Ends a call whose client is gone, or closed its side without a message."""
        with self._state.condition:
            if self._state.client is not _grpcio._CANCELLED and not self._state.statused:
                self._state.code = grpc.StatusCode.UNIMPLEMENTED
                self._state.details = b"the call requires exactly one request message"
        self.refuse()

    def _end(self) -> None:
        place = self.place
        if place is not None:
            self.place = None
            place.leave(self.caller)
