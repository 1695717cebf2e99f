"""The services of the protos as an ASGI application: a thin translator between `connectrpc` and the boundary."""

import json
from collections.abc import AsyncIterator, Mapping, MutableMapping
from contextvars import ContextVar
from http import HTTPStatus
from time import monotonic
from typing import Any, Final

from connectrpc.code import Code
from connectrpc.errors import ConnectError, ErrorDetail
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.request import RequestContext
from connectrpc.server import ConnectASGIApplication, Endpoint
from google.protobuf import descriptor_pool, message_factory
from protobuf.wkt import Any as AnyMessage

from remit.connect.encodings import JSON, MOST_QUICK_BYTES, PROTO, Codec, Sent, json_parser, to_json
from remit.connect.unary import UnaryCalls, code_name
from remit.core.names import quote
from remit.web.asgi import Application, Receive, Scope, Send, respond
from remit.web.calls import HttpCalls, HttpMethod
from remit.web.refusal import RefusedCall

_PACKAGES: Final = ("remit.v1.", "grpc.health.v1.")
_NO_GRPC: Final = (
    b"gRPC needs HTTP/2: it is served at the address of the setting `listen`. Here are Connect and gRPC-Web.\n"
)
_TYPES: Final = "`Content-Type: application/json` (of a stream `application/connect+json`)"
_NO_TEXT: Final = b"a header is not UTF-8\n"
_PLAIN: Final = (b"content-type", b"text/plain; charset=utf-8")

_scope: ContextVar[Scope] = ContextVar("scope")
"""Of the request that is being answered: `connectrpc` does not hand it on."""


def connect_applications(calls: HttpCalls, max_message_bytes: int) -> dict[str, Application]:
    """The application of each service, by the first part of its paths."""
    names = [
        name for name, method in calls.methods.items() if name.startswith(_PACKAGES) and not method.streams_requests
    ]
    spoken = {f"/{name}": _Spoken(calls, name) for name in names}
    library = _Library({path: each.endpoint for path, each in spoken.items()}, max_message_bytes)
    unary = {path: each for path, each in spoken.items() if not each.streams}
    application = UnaryCalls(unary, library.serve, max_message_bytes)
    return dict.fromkeys((name.partition("/")[0] for name in names), application)


class _Library(ConnectASGIApplication[None]):
    """The protocols, as `connectrpc` speaks them."""

    def __init__(self, endpoints: Mapping[str, Any], max_message_bytes: int) -> None:
        super().__init__(
            service=None,
            endpoints=lambda _: endpoints,
            read_max_bytes=max_message_bytes,
            # The event loop serves every caller: it must not inflate and deflate megabytes.
            compressions=(),
            codecs=[Codec(PROTO), Codec(JSON)],
        )

    @property
    def path(self) -> str:
        return ""

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        for name, value in scope["headers"]:
            if name == b"content-type" and value.startswith(b"application/grpc") and value[16:20] != b"-web":
                await respond(send, 415, _NO_GRPC, [_PLAIN])
                return
            if not value.isascii():
                try:
                    value.decode()
                except UnicodeDecodeError:
                    await respond(send, 400, _NO_TEXT, [_PLAIN])
                    return
        _scope.set(scope)
        await self(scope, receive, _explained(scope, send))  # type: ignore[arg-type]


def _explained(scope: Scope, send: Send) -> Send:
    """Gives the library's refusals of a request by its method, path or content type a body, which says what to send."""
    body = b""

    async def sending(message: MutableMapping[str, Any]) -> None:
        nonlocal body
        if message["type"] == "http.response.start" and (error := _error_of_http(message["status"], scope)):
            body = f"{json.dumps(error)}\n".encode()
            kept = [each for each in message["headers"] if each[0].lower() not in {b"content-type", b"content-length"}]
            headers = [*kept, (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
            message = {**message, "headers": headers}
        elif body:
            message = {**message, "body": body}
        await send(message)

    return sending


def _error_of_http(status: int, scope: Scope) -> dict[str, str] | None:
    """The error in Connect's shape; None for a status that `connectrpc` explains itself."""
    match status:
        case HTTPStatus.NOT_FOUND:
            return {"code": "not_found", "message": f"there is no method `{quote(scope['path'][1:])}`"}
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return {
                "code": "unimplemented",
                "message": f"`{scope['method']}` is not served here: send `POST` with {_TYPES}",
            }
        case HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
            sent = next((value.decode() for name, value in scope["headers"] if name == b"content-type"), "")
            what = f"`{quote(sent)}` is not served here" if sent else "the content type is missing"
            return {"code": "invalid_argument", "message": f"{what}: send {_TYPES}"}
        case _:
            return None


class _Spoken:
    """A method in all encodings. Methods with a stream of requests need HTTP/2, and are not here."""

    def __init__(self, calls: HttpCalls, name: str) -> None:
        service, _, method_name = name.partition("/")
        descriptor = descriptor_pool.Default().FindServiceByName(service).methods_by_name[method_name]
        parse_json = json_parser(message_factory.GetMessageClass(descriptor.input_type))
        method = calls.methods[name]
        encoded = {PROTO: method, JSON: method.spoken(parse_json, to_json)}
        self._calls = calls
        self._quick = {encoding: calls.bind(each) for encoding, each in encoded.items()}
        self._in_thread = {encoding: calls.bind(each.in_thread()) for encoding, each in encoded.items()}
        self.streams = method.streams_responses
        info: MethodInfo[Any, Any] = MethodInfo(
            name=method_name,
            service_name=service,
            input=Sent,
            output=bytes,
            idempotency_level=IdempotencyLevel.UNKNOWN,
            stream_type=StreamType.SERVER_STREAM if self.streams else StreamType.UNARY,
        )
        self.endpoint: Any = (
            Endpoint.server_stream(info, self.stream) if self.streams else Endpoint.unary(info, self.answer)
        )

    async def answered(self, sent: Sent, scope: Scope, until_s: float) -> bytes:
        """Raises RefusedCall."""
        answer: bytes = await self._calls.answer(self._method(sent), sent.message, scope, until_s=until_s)
        return answer

    async def answer(self, sent: Sent, context: RequestContext[Any, Any]) -> bytes:
        try:
            return await self.answered(sent, _scope.get(), _until_s(context))
        except RefusedCall as refused:
            raise _error(refused, context) from None

    async def stream(self, sent: Sent, context: RequestContext[Any, Any]) -> AsyncIterator[bytes]:
        responses = self._calls.stream(self._method(sent), sent.message, _scope.get(), until_s=_until_s(context))
        try:
            async for each in responses:
                yield each
        except RefusedCall as refused:
            raise _error(refused, context) from None
        finally:
            await responses.aclose()

    def _method(self, sent: Sent) -> HttpMethod:
        quick = len(sent.message) <= MOST_QUICK_BYTES[sent.encoding]
        return (self._quick if quick else self._in_thread)[sent.encoding]


def _until_s(context: RequestContext[Any, Any]) -> float:
    left_ms = context.timeout_ms
    return float("inf") if left_ms is None else monotonic() + left_ms / 1000


def _error(refused: RefusedCall, context: RequestContext[Any, Any]) -> ConnectError:
    for name, value in refused.headers:
        context.response_headers.add(name, value)
    details = [ErrorDetail(AnyMessage(type_url=each.type_url, value=each.value)) for each in refused.status.details]
    return ConnectError(Code(code_name(refused.code)), refused.text, details)
