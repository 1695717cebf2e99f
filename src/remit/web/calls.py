"""Calls over HTTP: the boundary of `rpc` around them, and their answers on the event loop."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from threading import Lock, Semaphore, get_ident
from time import monotonic
from typing import Any, Final, NamedTuple, NoReturn

import grpc
import structlog
from google.protobuf.message import Message

from remit.rpc.boundary import BoundMethod, CallBoundary, CallMethod
from remit.rpc.call_limits import Place
from remit.rpc.expiry import Expiry
from remit.rpc.identity import ACT_FOR, AUTHORIZATION
from remit.rpc.traceparent import TRACEPARENT
from remit.web.asgi import Receive, Scope
from remit.web.refusal import RefusedCall

_READ: Final = {AUTHORIZATION.encode(), ACT_FOR.encode(), TRACEPARENT.encode()}
"""Headers that the boundary and the servicers read."""
_DETAILS: Final = "grpc-status-details-bin"
_AHEAD: Final = 8
"""Messages of a stream that may wait to be sent."""

_log = structlog.get_logger("remit.web")


def certificates_of(scope: Scope) -> list[str]:
    """The certificate of the connection's other end and those that signed it, in PEM; empty without one."""
    chain: list[str] = scope.get("extensions", {}).get("tls", {}).get("client_cert_chain", [])
    return chain


class _AbortedError(Exception):
    """Leaves the function that aborted its call."""


class HttpContext:
    """The `CallContext` of a call over HTTP."""

    def __init__(self, scope: Scope, until_s: float) -> None:
        """`until_s` is the caller's deadline, on the clock of `monotonic`."""
        self._scope = scope
        self._until_s = until_s
        self._callbacks: list[Callable[[], None]] = []
        self._metadata: list[tuple[str, str]] | None = None
        self._ended = False
        self._mutex = Lock()
        self.refused: RefusedCall | None = None
        """What `abort` set."""

    def invocation_metadata(self) -> list[tuple[str, str]]:
        if self._metadata is None:
            # Text that is not UTF-8 is Latin-1, as in gRPC.
            self._metadata = [(name.decode(), _text(value)) for name, value in self._scope["headers"] if name in _READ]
        return self._metadata

    def auth_context(self) -> Mapping[str, list[bytes]]:
        return {"x509_pem_cert": [each.encode() for each in certificates_of(self._scope)[:1]]}

    def peer(self) -> str:
        """The address and port of the connection's other end: no header of a proxy is believed."""
        client = self._scope.get("client")
        return f"http:{client[0]}:{client[1]}" if client else "http"

    def time_remaining(self) -> float:
        return self._until_s - monotonic()

    def is_active(self) -> bool:
        return not self._ended

    def add_callback(self, callback: Callable[[], None]) -> bool:
        with self._mutex:
            if self._ended:
                return False
            self._callbacks.append(callback)
            return True

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        self.refused = RefusedCall(code, details)
        raise _AbortedError

    def abort_with_status(self, status: grpc.Status) -> NoReturn:
        details: Any = next((value for name, value in status.trailing_metadata or () if name == _DETAILS), b"")
        self.refused = RefusedCall(status.code, status.details, details)
        raise _AbortedError

    def set_code(self, code: grpc.StatusCode) -> None:
        """The call ends with this code, whatever its method returns."""
        self.refused = RefusedCall(code, "")

    def leave(self) -> None:
        """Nobody waits for the call any more. Its end is told by `end`."""
        self._ended = True

    def end(self) -> None:
        """Runs the callbacks, which may take a lock for a while."""
        with self._mutex:
            self._ended = True
            callbacks, self._callbacks = self._callbacks, []
        for each in callbacks:
            each()


class Handover:
    """Brings work from other threads to the event loop. All answers of a commit cost one wake-up of the loop."""

    def __init__(self) -> None:
        """Call it in the event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()
        self._waiting: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._due = False

    def put(self, function: Callable[[Any], None], value: Any) -> None:
        """Calls `function(value)` in the loop, soon. Calls are made in their order."""
        self._waiting.append((function, value))
        # Threads see the flag and the deque in single steps of the interpreter. The flush clears the flag first.
        if not self._due:
            self._due = True
            if get_ident() == self._thread:
                self._loop.call_soon(self._flush)
                return
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(self._flush)

    def _flush(self) -> None:
        self._due = False
        waiting = self._waiting
        while waiting:
            function, value = waiting.popleft()
            function(value)


class HttpCall:
    """One call over HTTP: an `ArrivedCall`."""

    def __init__(self, method: "HttpMethod", context: HttpContext, handover: Handover, expiry: Expiry) -> None:
        self._method = method
        self._handover = handover
        self._expiry = expiry
        self.context: Any = context
        self.place: Place | None = None
        """The place to give back when the call ends, under the name of its `caller`."""
        self.caller = ""

    def expire_after(self, timeout_s: float, expired: Callable[[], None]) -> None:
        self._expiry.expire_after(self, timeout_s, expired)

    def claim(self) -> bool:
        return self._expiry.claim(self)

    def serialized(self, response: Message) -> Any:
        return self._method.serialize(response)

    def answer(self, response: Any) -> None:
        # The caller may use the place again as soon as it has the answer.
        self._leave()
        refused = self.context.refused
        self._handover.put(self._ended, response if refused is None else refused)

    def refuse(self) -> None:
        self._leave()
        self._handover.put(self._ended, self.context.refused or RefusedCall(grpc.StatusCode.UNKNOWN, ""))

    def turn_away(self, code: grpc.StatusCode, text: str, details: bytes = b"") -> None:
        self._leave()
        self._handover.put(self._ended, RefusedCall(code, text, details))

    def answer_in_thread(self, request: Any) -> None:
        try:
            self._run(request)
        except _AbortedError:
            self.refuse()
        except Exception:  # noqa: BLE001 (it would leave the call without an end)
            _log.exception("a call failed")
            self.refuse()
        finally:
            self.context.end()

    def _run(self, request: Any) -> None:
        raise NotImplementedError

    def _ended(self, end: Any) -> None:
        """Runs in the loop, with the serialized response or a `RefusedCall`."""
        raise NotImplementedError

    def _leave(self) -> None:
        place = self.place
        if place is not None:
            self.place = None
            place.leave(self.caller)


class UnaryCall(HttpCall):
    """A call with one response."""

    async def response(self, message: Any) -> Any:
        """The serialized response. Raises RefusedCall."""
        self._response: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._method.bound.arrive(message, self)
        try:
            return await self._response
        except asyncio.CancelledError:
            self.context.leave()
            raise

    def _run(self, request: Any) -> None:
        self.answer(self.serialized(self._method.bound.behavior(request, self.context)))

    def _ended(self, end: Any) -> None:
        if self._response.done():
            return  # nobody waits any more
        if isinstance(end, RefusedCall):
            self._response.set_exception(end)
        else:
            self._response.set_result(end)


class StreamCall(HttpCall):
    """A call with a stream of responses."""

    async def responses(self, message: Any) -> AsyncGenerator[Any, None]:
        """The serialized responses. Raises RefusedCall."""
        self._room = Semaphore(_AHEAD)
        self._sent: asyncio.Queue[Any] = asyncio.Queue()
        self._method.bound.arrive(message, self)
        try:
            while True:
                response = await self._sent.get()
                if response is None:
                    return
                if isinstance(response, RefusedCall):
                    raise response
                self._room.release()
                yield response
        finally:
            self.context.leave()
            self._room.release()
            asyncio.get_running_loop().run_in_executor(None, self.context.end)

    def _run(self, request: Any) -> None:
        responses = self._method.bound.behavior(request, self.context)
        try:
            for each in responses:
                response = self.serialized(each)
                self._room.acquire()
                if not self.context.is_active():
                    break
                self._handover.put(self._ended, response)
        finally:
            responses.close()
        self.answer(None)

    def _ended(self, end: Any) -> None:
        self._sent.put_nowait(end)


class HttpMethod(NamedTuple):
    """A method whose calls come over HTTP."""

    bound: BoundMethod
    serialize: Callable[[Any], Any]


class HttpCalls:
    """Calls over HTTP inside the boundary: the same identity, rights, limits, statuses and metrics as over gRPC.

    A room that offers an API over HTTP makes a `CallMethod` for each of its calls, binds it once, and awaits `answer` for
    each request. A method's `at_once` returns a `PendingAnswer`: its answer leaves when its records are committed,
    and no thread waits for them. Its `behavior` answers in a thread, and may block.
    """

    def __init__(self, boundary: CallBoundary, expiry: Expiry) -> None:
        self._boundary = boundary
        self._expiry = expiry
        self._handover: Handover | None = None

    @property
    def methods(self) -> Mapping[str, CallMethod]:
        """The methods of the gRPC services, as `remit.v1.AccessService/Check`."""
        return self._boundary.methods

    def bind(self, method: CallMethod) -> HttpMethod:
        return HttpMethod(self._boundary.bind(method), method.serialize)

    async def answer(self, method: HttpMethod, message: Any, scope: Scope, *, until_s: float = float("inf")) -> Any:
        """What `serialize` of the method makes of the answer. Raises RefusedCall.

        `message` is what `parse` of the method takes: it runs inside the boundary, after the caller is known and has a
        place. `until_s` is the caller's deadline, on the clock of `monotonic`; the room ends the wait itself.
        """
        return await UnaryCall(method, HttpContext(scope, until_s), self._at_hand(), self._expiry).response(message)

    def stream(
        self, method: HttpMethod, message: Any, scope: Scope, *, until_s: float = float("inf")
    ) -> AsyncGenerator[Any, None]:
        """The same for a method with a stream of responses."""
        return StreamCall(method, HttpContext(scope, until_s), self._at_hand(), self._expiry).responses(message)

    def _at_hand(self) -> Handover:
        if self._handover is None:
            self._handover = Handover()
        return self._handover


async def read_body(receive: Receive, most_bytes: int) -> bytes:
    """The body of a request. Raises RefusedCall if it has more bytes, or ends early."""
    parts: list[bytes] = []
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RefusedCall(grpc.StatusCode.CANCELLED, "the caller left before its request was here")
        part: bytes = message.get("body", b"")
        if not parts and not message.get("more_body", False) and len(part) <= most_bytes:
            return part
        length += len(part)
        if length > most_bytes:
            text = f"the request has more than {most_bytes} bytes"
            raise RefusedCall(grpc.StatusCode.RESOURCE_EXHAUSTED, text, http_status=413)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
