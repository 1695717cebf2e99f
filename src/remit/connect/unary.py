"""Plain unary calls of the Connect protocol.

They are almost all calls, and `connectrpc` takes longer for one than everything else does together: it is made for
every kind of call, and starts a task to watch each. Here is the usual case alone. Whatever is unusual about a request,
the library answers it.
"""

import asyncio
import json
from base64 import b64encode
from collections.abc import Mapping
from time import monotonic
from typing import Final, Protocol

import grpc

from remit.connect.encodings import JSON, PROTO, Sent
from remit.web.asgi import Application, Receive, Scope, Send
from remit.web.calls import read_body
from remit.web.refusal import HTTP_STATUS_OF, RefusedCall

_ENCODINGS: Final = {b"application/proto": PROTO, b"application/json": JSON}
_TYPES: Final = {encoding: (b"content-type", name) for name, encoding in _ENCODINGS.items()}
_UNUSUAL: Final = {b"content-encoding", b"transfer-encoding", b"expect"}
_VERSION: Final = b"connect-protocol-version"
_TIMEOUT: Final = b"connect-timeout-ms"
_MOST_DIGITS: Final = 10
_FOREVER_S: Final = float("inf")


class AnswersSent(Protocol):
    """A unary method in all encodings."""

    async def answered(self, sent: Sent, scope: Scope, until_s: float) -> bytes:
        """The serialized answer. Raises RefusedCall."""


class UnaryCalls:
    """An ASGI application in front of the library."""

    def __init__(self, methods: Mapping[str, AnswersSent], library: Application, max_message_bytes: int) -> None:
        """`methods` by path."""
        self._methods = methods
        self._library = library
        self._max_message_bytes = max_message_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = self._methods.get(scope["path"])
        encoding, timeout_s = _plain(scope)
        if method is None or encoding is None:
            await self._library(scope, receive, send)
            return
        status, headers = 200, [_TYPES[encoding]]
        try:
            if timeout_s is None:
                body = await read_body(receive, self._max_message_bytes)
                answer = await method.answered(Sent(encoding, body), scope, _FOREVER_S)
            else:
                until_s = monotonic() + timeout_s
                async with asyncio.timeout(timeout_s):
                    body = await read_body(receive, self._max_message_bytes)
                    answer = await method.answered(Sent(encoding, body), scope, until_s)
        except RefusedCall as refused:
            status, headers, answer = _refused(refused)
        except TimeoutError:
            status, headers, answer = _refused(RefusedCall(grpc.StatusCode.DEADLINE_EXCEEDED, _LATE))
        headers.append((b"content-length", b"%d" % len(answer)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


_LATE: Final = "the deadline of the caller has passed"


def _plain(scope: Scope) -> tuple[str | None, float | None]:
    """The encoding of a usual request, and its timeout. No encoding for an unusual one."""
    encoding = timeout_s = None
    if scope["method"] != "POST":
        return None, None
    for name, value in scope["headers"]:
        if name == b"content-type":
            encoding = _ENCODINGS.get(value)
        elif name == _TIMEOUT:
            if not value.isdigit() or len(value) > _MOST_DIGITS:
                return None, None
            timeout_s = int(value) / 1000
        elif name in _UNUSUAL or (name == _VERSION and value != b"1"):
            return None, None
    return encoding, timeout_s


def _refused(refused: RefusedCall) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    error: dict[str, object] = {"code": code_name(refused.code), "message": refused.text}
    if refused.status.details:
        error["details"] = [
            {"type": each.TypeName(), "value": b64encode(each.value).decode().rstrip("=")}
            for each in refused.status.details
        ]
    headers = [(name.encode(), value.encode()) for name, value in refused.headers]
    return HTTP_STATUS_OF.get(refused.code, 500), [_TYPES[JSON], *headers], f"{json.dumps(error)}\n".encode()


def code_name(code: grpc.StatusCode) -> str:
    """As Connect writes it: one status in its own way."""
    return code.name.lower().replace("cancelled", "canceled")
