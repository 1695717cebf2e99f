"""Calls answered without a thread of their own: decided by the thread that receives them, sent by the one that wrote
their record.

grpcio hands a call to a thread of a pool, which waits there for the request and then for its record: four changes of thread a
call, each of which costs as much as ten decisions. This relies on parts of grpcio that are not its public API
(`grpc._server`); where one of them is missing, `supported` is False and every call gets its thread, as is grpcio's way.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread
from typing import Any, Final

import grpc
from google.protobuf.message import Message
from grpc import _server as _grpcio
from grpc._cython import cygrpc  # type: ignore[attr-defined]

_PARTS: Final = (
    *("_Context", "_RECEIVE_MESSAGE_TOKEN", "_CANCELLED", "_abort", "_receive_message", "_status"),
    "_unary_response_in_pool",
)
_EXPIRY_EVERY_S: Final = 0.05

AT_ONCE: Final = "at_once"
"""The attribute of a behavior that may answer a `PromptCall`: a function of the request and the call, which returns False
where the call has to be handed to a thread."""

_log = logging.getLogger("remit.rpc")


def supported() -> bool:
    return all(hasattr(_grpcio, part) for part in _PARTS) and hasattr(cygrpc, "ReceiveMessageOperation")


class CallThreads(ThreadPoolExecutor):
    """The threads of a gRPC server. Behaviors that have `at_once` get one only where they ask for it."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads, thread_name_prefix="remit-call")
        self._supported = supported()
        self._held: dict[int, tuple[float, Callable[[], None]]] = {}
        self._stopping = Event()
        self._expiry = Thread(target=self._expire, name="remit-expiry", daemon=True)
        self._expiry.start()

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        if self._supported and args and args[0] is _grpcio._unary_response_in_pool:
            _, event, state, behavior, _, deserialize, serialize = args
            if hasattr(behavior, AT_ONCE):
                return PromptCall(self, fn, event, state, behavior, deserialize, serialize).receive()
        return super().submit(fn, *args, **kwargs)

    def hand_over(self, fn: Any, *args: Any) -> Any:
        """A thread for a call that turns out to need one."""
        return super().submit(fn, *args)

    def hold(self, call: "PromptCall", timeout_s: float, expired: Callable[[], None]) -> None:
        """`expired` is called soon after the time is up, unless the call has been let go before."""
        self._held[id(call)] = (time.monotonic() + timeout_s, expired)

    def let_go(self, call: "PromptCall") -> bool:
        """True for the first who says so: only that one may answer."""
        return self._held.pop(id(call), None) is not None

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._stopping.set()
        super().shutdown(wait, cancel_futures=cancel_futures)

    def _expire(self) -> None:
        while not self._stopping.wait(_EXPIRY_EVERY_S):
            now = time.monotonic()
            for until, expired in list(self._held.values()):
                if until <= now:
                    expired()


class PromptCall:
    """One unary call, from its arrival to its answer. What `submit` gives grpcio in place of a future."""

    __slots__ = ("_behavior", "_deserialize", "_ended", "_event", "_run", "_serialize", "_state", "_threads", "context")

    def __init__(
        self, threads: CallThreads, run: Any, event: Any, state: Any, behavior: Any, deserialize: Any, serialize: Any
    ) -> None:
        self._threads = threads
        self._run = run
        self._event = event
        self._state = state
        self._behavior = behavior
        self._deserialize = deserialize
        self._serialize = serialize
        self._ended: Callable[[Any], None] | None = None
        self.context: grpc.ServicerContext = _grpcio._Context(event, state, deserialize)

    def add_done_callback(self, ended: Callable[[Any], None]) -> None:
        """As a future's: grpcio counts by it the calls in flight."""
        self._ended = ended

    def receive(self) -> "PromptCall":
        """Asks for the request; what follows happens in the thread that receives it."""
        received = _grpcio._receive_message(self._state, self._event.call, self._deserialize)

        def on_event(event: Any) -> Any:
            ending = received(event)
            request, self._state.request = self._state.request, None
            try:
                if request is None:
                    self._without_request()
                elif not self._behavior.at_once(request, self):
                    self._hand_over(request)
            except Exception:  # noqa: BLE001 (it would end the thread that receives every call)
                _log.exception("a call failed")
                self.refuse()
            return ending

        with self._state.condition:
            self._event.call.start_server_batch((cygrpc.ReceiveMessageOperation(0),), on_event)
            self._state.due.add(_grpcio._RECEIVE_MESSAGE_TOKEN)
        return self

    def hold(self, timeout_s: float, expired: Callable[[], None]) -> None:
        self._threads.hold(self, timeout_s, expired)

    def let_go(self) -> bool:
        return self._threads.let_go(self)

    def serialized(self, response: Message) -> bytes:
        return bytes(self._serialize(response))

    def answer(self, response: bytes) -> None:
        _grpcio._status(self._event, self._state, response)
        self._end()

    def refuse(self) -> None:
        """Ends the call with the status that `context.abort` left, else UNKNOWN."""
        with self._state.condition:
            if not self._state.statused:
                _grpcio._abort(self._state, self._event.call, cygrpc.StatusCode.unknown, b"")
        self._end()

    def _without_request(self) -> None:
        """The client is gone, or has sent what is no request: then grpcio has refused it already, or does so here."""
        with self._state.condition:
            if self._state.client is not _grpcio._CANCELLED and not self._state.statused:
                self._state.code = grpc.StatusCode.UNIMPLEMENTED
                self._state.details = b"the call requires exactly one request message"
        self.refuse()

    def _hand_over(self, request: Any) -> None:
        arguments = (self._event, self._state, self._behavior, lambda: request, self._deserialize, self._serialize)
        future = self._threads.hand_over(self._run, _grpcio._unary_response_in_pool, *arguments)
        future.add_done_callback(lambda _: self._end())

    def _end(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(self)
