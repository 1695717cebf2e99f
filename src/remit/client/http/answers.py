"""Reads answers of the Connect protocol. What is not a whole answer of a server raises HttpCallError.

Proxies answer too: by a page of their own, a redirect, or half of what the server said.
"""

import json
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from remit.client.http.errors import HttpCallError

Headers = Iterable[tuple[bytes, bytes]]
Deserializer = Callable[[bytes], Any]

LONGEST_MESSAGE: Final = 64 * 1024 * 1024
"""Bytes, as over gRPC."""
_LONGEST_ERROR: Final = 256 * 1024
_OK: Final = 200
_REDIRECTS: Final = range(300, 400)
_UNARY, _STREAM, _ERROR = "application/proto", "application/connect+proto", "application/json"
_LENGTHS: Final = {b"content-length", b"transfer-encoding"}
_ENCODINGS: Final = {b"content-encoding", b"connect-content-encoding"}
_PREFIX: Final = 5
_END: Final = 2
_CODES: Final = {
    ("canceled" if code is grpc.StatusCode.CANCELLED else code.name.lower()): code
    for code in grpc.StatusCode
    if code is not grpc.StatusCode.OK
}
_CODES_OF_HTTP: Final = {
    400: grpc.StatusCode.INTERNAL,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.UNIMPLEMENTED,
    429: grpc.StatusCode.UNAVAILABLE,
    502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.UNAVAILABLE,
}
"""For answers that are not remit's, as the Connect protocol has them."""


class UnaryAnswer:
    """The answer of a call. Feed it the body."""

    def __init__(self, status: int, headers: Headers) -> None:
        self._status = status
        self._content_type = _content_type(status, headers, _UNARY)
        self._longest = LONGEST_MESSAGE if status == _OK else _LONGEST_ERROR
        self._body = bytearray()

    def feed(self, part: bytes) -> None:
        self._body += part
        if len(self._body) > self._longest:
            raise _too_long(self._longest)

    def message(self, deserialize: Deserializer) -> Any:
        """The message, after the whole body."""
        if self._status != _OK:
            raise _error_of(self._status, bytes(self._body))
        return _message(bytes(self._body), deserialize)


class StreamAnswer:
    """The messages of a stream. Feed it the body."""

    def __init__(self, status: int, headers: Headers, deserialize: Deserializer) -> None:
        self._status = status
        _content_type(status, headers, _STREAM)
        self._deserialize = deserialize
        self._body = bytearray()
        self._ended = False

    def feed(self, part: bytes) -> Iterator[Any]:
        """The messages that are complete now. Raises the error at the end of the stream."""
        self._body += part
        if self._status != _OK:
            if len(self._body) > _LONGEST_ERROR:
                raise _too_long(_LONGEST_ERROR)
            return
        while len(self._body) >= _PREFIX:
            flags, length = self._body[0], int.from_bytes(self._body[1:_PREFIX])
            if self._ended or flags not in {0, _END}:
                raise _no_answer("the stream has a part that is none of the Connect protocol")
            if length > LONGEST_MESSAGE:
                raise _too_long(LONGEST_MESSAGE)
            if len(self._body) < _PREFIX + length:
                return
            content = bytes(self._body[_PREFIX : _PREFIX + length])
            del self._body[: _PREFIX + length]
            if flags == _END:
                self._ended = True
                _raise_end(content)
            else:
                yield _message(content, self._deserialize)

    def end(self) -> None:
        """After the whole body. Raises the error if the server has not ended the stream."""
        if self._status != _OK:
            raise _error_of(self._status, bytes(self._body))
        if not self._ended or self._body:
            # A proxy ends streams that it finds too long.
            raise HttpCallError(grpc.StatusCode.UNAVAILABLE, "the stream ended without its last part")


def _content_type(status: int, headers: Headers, expected: str) -> str:
    """The content type of a complete answer. Raises HttpCallError if the answer cannot be one of the server."""
    fields = [(name.lower(), value) for name, value in headers]
    names = {name for name, _ in fields}
    types = [
        value.decode("latin-1").partition(";")[0].strip().lower() for name, value in fields if name == b"content-type"
    ]
    if status != _OK:
        expected = _ERROR
        if types != [expected]:
            raise _foreign(status)
    shown = " and ".join(f"`{each}`" for each in types) or "no content type"
    if types != [expected]:
        raise _no_answer(f"the answer is {shown[:200]}, and not `{expected}`: does something else answer there?")
    if any(name in _ENCODINGS and value.strip().lower() != b"identity" for name, value in fields):
        raise _no_answer("the answer is compressed, and nobody asked for that")
    if not names & _LENGTHS:
        raise _no_answer("the answer does not say where it ends")
    return expected


def _message(content: bytes, deserialize: Deserializer) -> Any:
    try:
        return deserialize(content)
    except DecodeError:
        raise _no_answer("the server's answer is no message of this API") from None


def _raise_end(content: bytes) -> None:
    """Raises the error of the last part of a stream, if it has one."""
    end = _object(content)
    if end is None:
        raise _no_answer("the last part of the stream cannot be read")
    error = end.get("error")
    if error is None:
        return
    raise _connect_error(error, grpc.StatusCode.UNKNOWN) or _no_answer("the error of the stream cannot be read")


def _error_of(status: int, body: bytes) -> HttpCallError:
    return _connect_error(_object(body), _code_of_http(status)) or _foreign(status)


def _connect_error(error: Any, otherwise: grpc.StatusCode) -> HttpCallError | None:
    """None if it is no error of the Connect protocol. A code that is unknown counts as `otherwise`."""
    if not isinstance(error, dict) or not isinstance(error.get("code"), str):
        return None
    code = _CODES.get(error["code"], otherwise)
    text = _text(error.get("message", ""))
    status = status_pb2.Status(code=code.value[0], message=text)
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        try:
            name, value = detail["type"], b64decode(f"{detail['value']}===")
            status.details.add(type_url=f"type.googleapis.com/{name}", value=value)
        except (KeyError, TypeError, ValueError):
            # Without its details the error is still one.
            continue
    return HttpCallError(code, text, status if status.details else None)


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _text(value: Any) -> str:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _code_of_http(status: int) -> grpc.StatusCode:
    return _CODES_OF_HTTP.get(status, grpc.StatusCode.UNKNOWN)


def _foreign(status: int) -> HttpCallError:
    """An error that is not remit's."""
    what = "a redirect, which is not followed" if status in _REDIRECTS else "an answer that is not remit's"
    return HttpCallError(_code_of_http(status), f"HTTP status {status}: {what}; does something else answer there?")


def _no_answer(text: str) -> HttpCallError:
    return HttpCallError(grpc.StatusCode.INTERNAL, text)


def _too_long(longest: int) -> HttpCallError:
    return HttpCallError(grpc.StatusCode.RESOURCE_EXHAUSTED, f"the answer is longer than {longest} bytes")
