"""The HTTP server: uvicorn in a thread of the process."""

import ssl
import time
from socket import SO_REUSEADDR, SO_REUSEPORT, SOCK_STREAM, SOL_SOCKET, socket
from threading import Thread
from typing import Final, Self

import uvicorn

from remit.core.addresses import split_address
from remit.service.certificates import ServerCertificates
from remit.service.errors import StartupError
from remit.service.settings import Settings
from remit.service.workers.port import addresses_to_bind, both_families, http_taken, naming
from remit.web.asgi import Application
from remit.web.connection import HttpConnection

_IDLE_S: Final = 75
"""How long a connection may wait between two requests."""
_LOOK_EVERY: Final = 5
"""Ticks of uvicorn, which are a tenth of a second."""
_LOOK_S: Final = 0.5


class WebServer:
    """Serves an ASGI application at the setting `http`, with TLS as at the setting `listen`."""

    def __init__(self, settings: Settings, application: Application) -> None:
        """Binds the addresses, without serving yet. Raises StartupError if it cannot."""
        certificates = ServerCertificates.of(settings)
        config = uvicorn.Config(
            application,
            loop="uvloop",
            http=HttpConnection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="error",
            access_log=False,
            # Anybody can send these headers.
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_IDLE_S,
            timeout_graceful_shutdown=settings.grace_s,  # type: ignore[arg-type]
            workers=1,
            ssl_context_factory=None if certificates is None else lambda *_: reloading_context(certificates),
        )
        self._server = _Uvicorn(config, settings)
        self._sockets = _listening(settings)
        self.port: int = self._sockets[0].getsockname()[1]
        self._thread = Thread(target=self._server.run, args=(self._sockets,), name="remit-http", daemon=True)

    def start(self) -> Self:
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.005)
        return self

    def stop(self) -> None:
        """Takes no more connections, and returns when the calls in flight have ended, `grace_s` later at the latest."""
        self._server.should_exit = True
        self._thread.join()


class _Uvicorn(uvicorn.Server):
    """Ends connections that are silent or old."""

    def __init__(self, config: uvicorn.Config, settings: Settings) -> None:
        super().__init__(config)
        self._settings = settings
        # Looks are counted, not time: after the process stood still, requests may have come but not been received.
        self._most_looks = settings.message_timeout_s / _LOOK_S + 1

    async def on_tick(self, counter: int) -> bool:
        if counter % _LOOK_EVERY == 0:
            for each in list(self.server_state.connections):
                assert isinstance(each, HttpConnection)
                self._look(each)
        return await super().on_tick(counter)

    def _look(self, connection: HttpConnection) -> None:
        connection.end_old(self._settings.connection_max_age_s, self._settings.grace_s)
        if connection.is_waited_for:
            connection.looks += 1
            if connection.looks > self._most_looks:
                connection.end_silent()


def reloading_context(certificates: ServerCertificates) -> ssl.SSLContext:
    """A context whose connections get the newest certificates, each at its handshake."""
    serving = certificates.newest()
    first, changed_s = serving.context, 0.0
    _prepare(first)

    def switch(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> int | None:
        nonlocal serving, changed_s
        newest = certificates.newest()
        if newest is not serving:
            _prepare(newest.context)
            serving, changed_s = newest, time.time()
        connection.context = newest.context
        session = connection.session if connection.session_reused else None
        if session is not None and session.time <= changed_s:
            # The client forgets the session for this alert, and shows its certificate the next time.
            return ssl.ALERT_DESCRIPTION_CERTIFICATE_EXPIRED
        return None

    first.sni_callback = switch
    return first


def _prepare(context: ssl.SSLContext) -> None:
    context.set_alpn_protocols(["http/1.1"])
    # A session that is taken up again does not look at the certificate again. Nothing turns off those of TLS 1.2 without
    # tickets, which Python takes up from 3.13 on.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET


def _listening(settings: Settings) -> list[socket]:
    """Sockets on all addresses of `http`. Raises StartupError."""
    host, port = split_address("http", settings.http)
    made: list[socket] = []
    try:
        for family, address in addresses_to_bind(host, port):
            each = socket(family, SOCK_STREAM)
            made.append(each)
            both_families(each, address)
            # Two servers on one port would share its calls, with different policies. Workers should share it.
            each.setsockopt(SOL_SOCKET, SO_REUSEPORT if settings.workers > 1 else SO_REUSEADDR, 1)
            with naming(address):
                each.bind(address)
    except OSError as error:
        for each in made:
            each.close()
        raise StartupError(http_taken(settings.http, error)) from error
    return made
