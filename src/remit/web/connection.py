"""A connection of the HTTP server: the parser and the protocol are uvicorn's."""

import ssl
from random import uniform
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

MOST_HEAD_BYTES: Final = 65_536
"""Bytes of a request's line and headers. A token has at most 8 KiB."""
MOST_BODIES_BYTES: Final = 134_217_728
"""Bytes of all the bodies that are on their way: nobody knows yet who sends them. Short ones are taken in any case."""
_AGE_SPREAD: Final = 0.1
_BODY_HEADERS: Final = {b"content-length", b"transfer-encoding"}


class HttpConnection(HttpToolsProtocol):
    """Puts the certificate of the other end into the scope, and bounds the head of a request and the wait for it."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.began_s = self.loop.time()
        self.spread = uniform(1 - _AGE_SPREAD, 1 + _AGE_SPREAD)
        self.awaits_request = True
        """A request is under way, or the first one has not begun. Between two requests uvicorn has a timeout."""
        self.looks = 0
        """How often the server looked since then."""
        self._received = 0
        """Bytes that are being parsed."""
        self._head_bytes = 0
        """Bytes of the head, or since the last part of the body, before those."""
        self._in_head = True
        self.body_bytes = 0
        """Bytes of a body that is on its way."""
        self._refusal = ""
        """Why the request is refused, if the parser does not know."""
        self._running: RequestResponseCycle | None = None
        """The request that is being answered. Those that wait behind it are in `pipeline`."""
        self._extensions: dict[str, Any] = {}
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            der = tls.getpeercert(binary_form=True)
            chain = [] if der is None else [ssl.DER_cert_to_PEM_cert(der)]
            self._extensions = {"tls": {"client_cert_chain": chain}}

    def data_received(self, data: bytes) -> None:
        self._received = len(data)
        super().data_received(data)
        # The parser tells of a header when it is whole. Behind a body may come more of them, as long.
        if self.awaits_request and self.parser is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
                self._close(431)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        # That tells the newest request alone.
        running = self._running
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = self._extensions
        self.awaits_request, self.looks = True, 0
        self._head_bytes, self._in_head = 0, True

    def on_header(self, name: bytes, value: bytes) -> None:
        # What follows the body are no headers: a proxy that removes or checks those may let them pass.
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() and any(name in _BODY_HEADERS for name, _ in self.headers):
            # The parser would take the body for what follows an upgrade, and then for a request of its own.
            self._refusal = "a request that has a body cannot ask for an upgrade"
            raise ValueError(self._refusal)
        if self._head_bytes + self._received > MOST_HEAD_BYTES:
            # Some of it may be the body.
            self._head_bytes = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if self._head_bytes > MOST_HEAD_BYTES:
            raise ValueError("the head is too large")  # the parser then stops
        self._in_head = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head_bytes = -self._received
        if not self.cycle.response_complete:
            self.body_bytes += len(body)
            if self.body_bytes > MOST_HEAD_BYTES and not self.transport.is_closing() and self._is_crowded():
                self._close(503)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self.awaits_request = False
        self.body_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        if self._in_head and self._head_bytes > MOST_HEAD_BYTES:
            self._close(431)
        else:
            super().send_400_response(self._refusal or msg)

    @property
    def is_waited_for(self) -> bool:
        """A request is under way, or waits for its turn. While one waits, uvicorn does not see that its sender leaves."""
        return self.awaits_request or bool(self.pipeline)

    def end_silent(self) -> None:
        """Ends a connection whose request does not come, or does not get its turn."""
        cycle: RequestResponseCycle | None = self.cycle
        if self.pipeline:
            self.transport.abort()
        elif cycle is None or not cycle.response_started or cycle.response_complete:
            self._close(408)
        else:
            self.transport.close()

    def end_old(self, age_s: float, grace_s: float) -> None:
        """Ends the connection if it is older than `age_s`: at once if it is idle, else after its response, and after
        `grace_s` more in any case."""
        over_s = self.loop.time() - self.began_s - age_s * self.spread
        if over_s > grace_s:
            self.transport.abort()
        elif over_s > 0:
            self.shutdown()

    def _close(self, status: int) -> None:
        self.transport.write(STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()

    def _is_crowded(self) -> bool:
        others: int = sum(each.body_bytes for each in self.connections if each is not self)  # type: ignore[union-attr]
        return others > MOST_BODIES_BYTES

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running, self.looks = cycle, 0
        super()._start_asgi_task(cycle, app)
