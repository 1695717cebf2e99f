"""HTTP/2 by hand, for what no client of gRPC does: calls without a message, headers that are no text."""

import socket
import struct
from collections.abc import Mapping
from typing import Self

from support.waiting import DEADLINE_S

_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_END_STREAM, _END_HEADERS = 1, 4


class Connection:
    """A connection of its own to a server without TLS."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0, b""))
        self._next = 1

    def begin(self, method: str, more: Mapping[bytes, bytes] | None = None) -> int:
        """The headers of a call of `/SERVICE/METHOD`, and nothing else. The stream's id."""
        stream, self._next = self._next, self._next + 2
        headers = {
            b":method": b"POST",
            b":scheme": b"http",
            b":path": method.encode(),
            b":authority": b"localhost",
            b"te": b"trailers",
            b"content-type": b"application/grpc",
            **(more or {}),
        }
        block = b"".join(b"\x00" + _text(name) + _text(value) for name, value in headers.items())
        self._socket.sendall(_frame(_HEADERS, _END_HEADERS, stream, block))
        return stream

    def send(self, stream: int, message: bytes) -> None:
        """The call's message, its last."""
        self._socket.sendall(_frame(_DATA, _END_STREAM, stream, struct.pack(">BI", 0, len(message)) + message))

    def receive_until(self, text: bytes) -> None:
        """Reads until the text has come. Raises TimeoutError."""
        self._socket.settimeout(DEADLINE_S)
        received = b""
        while text not in received:
            piece = self._socket.recv(65_536)
            assert piece, f"the connection ended after {received!r}"
            received += piece

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _text(text: bytes) -> bytes:
    assert len(text) < 127
    return bytes([len(text)]) + text
