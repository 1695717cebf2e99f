import ssl
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from http import HTTPStatus
from socket import SHUT_RDWR, AddressFamily, socket
from socketserver import TCPServer, ThreadingMixIn
from threading import Thread
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from prometheus_client import CollectorRegistry, MetricsHandler

from remit.core.addresses import split_address
from remit.service.certificates import ServerCertificates
from remit.service.errors import StartupError
from remit.service.settings import Settings
from remit.service.workers.port import Address, addresses_to_bind, both_families, cannot_serve_metrics, naming

PATH: Final = "/metrics"
LIVE_PATH: Final = "/livez"
READY_PATH: Final = "/readyz"
CONNECTIONS: Final = 32
"""The most connections at a time. A new connection closes the oldest one."""
_TIMEOUT_S: Final = 5.0
"""A connection that sends nothing for this long is closed."""
_PAUSE_S: Final = 0.1

_log = structlog.get_logger("remit")


MayScrape = Callable[[bytes], bool]
"""Whether the caller with this certificate, in PEM, may read the metrics."""


class Readiness(StrEnum):
    """Whether calls that are sent here are answered. The value is the body of `/readyz`."""

    READY = "ready"
    STARTING = "starting"
    STOPPING = "stopping"
    UNHEALTHY = "unhealthy"
    """Audit records are not written, so decisions are refused."""


def serve_metrics(
    settings: Settings, registry: CollectorRegistry, may_scrape: MayScrape, readiness: Callable[[], Readiness]
) -> int:
    """Starts the endpoint of metrics and probes, and returns its port; 0 if the setting `metrics` is empty.

    With TLS, the metrics need a client certificate and the probes do not. Raises StartupError.
    """
    if not settings.metrics:
        return 0
    host, port = split_address("metrics", settings.metrics)
    servers: list[_Server] = []
    try:
        tls = None if settings.mutual_tls is None else ServerCertificates.of(settings)
        for family, address in addresses_to_bind(host, port):
            handler = type(
                "_Handler",
                (_Handler,),
                {
                    "registry": registry,
                    "may_scrape": staticmethod(may_scrape),
                    "readiness": staticmethod(readiness),
                },
            )
            servers.append(_Server(family, address, handler, tls))
    except OSError as error:
        for each in servers:
            each.server_close()
        raise StartupError(cannot_serve_metrics(settings.metrics, error)) from error
    port = servers[0].server_address[1]
    for each in servers:
        Thread(target=each.serve_forever, name="remit-metrics", daemon=True).start()
    return port


class _Server(ThreadingMixIn, TCPServer):
    """An HTTP server with a thread per connection and a bounded number of connections.

    A slow connection therefore delays no other.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        family: AddressFamily,
        address: Address,
        handler: type["_Handler"],
        tls: ServerCertificates | None,
    ) -> None:
        """Raises OSError, whose `filename` is the address, if the address is in use."""
        self.address_family = family
        self._tls = tls
        # The accepting thread and the connections' threads change it. Each change is one step of the interpreter.
        self._open: OrderedDict[socket, None] = OrderedDict()
        with naming(address):
            super().__init__(address, handler)

    def server_bind(self) -> None:
        both_families(self.socket, self.server_address)
        super().server_bind()

    def get_request(self) -> tuple[socket, Any]:
        try:
            connection, peer = super().get_request()
        except OSError:
            # Most likely no descriptor is free. The connection still waits: without a pause this would be a busy loop.
            time.sleep(_PAUSE_S)
            raise
        connection.settimeout(_TIMEOUT_S)
        if self._tls is not None:
            # The handshake happens in the connection's own thread.
            connection = self._tls.newest().context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, peer

    def process_request(self, request: Any, client_address: Any) -> None:
        if len(self._open) >= CONNECTIONS:
            with suppress(KeyError, OSError):  # the oldest has just ended by itself
                # Not `shutdown` of the TLS socket, which would continue without encryption.
                socket.shutdown(self._open.popitem(last=False)[0], SHUT_RDWR)
        self._open[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Logs nothing: a client that breaks off, or has no certificate, is no error of the server."""


class _Handler(MetricsHandler):
    may_scrape: MayScrape
    readiness: Callable[[], Readiness]

    def do_GET(self) -> None:  # noqa: N802 (the library's name)
        path = urlsplit(self.path).path
        if path == LIVE_PATH:
            self._answer(HTTPStatus.OK, "alive")
        elif path == READY_PATH:
            found = self.readiness()
            ready = found is Readiness.READY
            self._answer(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, found)
        elif path == PATH:
            self._metrics()
        else:
            self.send_error(HTTPStatus.NOT_FOUND, explain=f"The metrics are at {PATH}.")

    def _answer(self, status: HTTPStatus, word: str) -> None:
        body = f"{word}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def _metrics(self) -> None:
        if isinstance(self.connection, ssl.SSLSocket):
            der = self.connection.getpeercert(binary_form=True)
            if der is None:
                self.send_error(HTTPStatus.FORBIDDEN, explain="The metrics need a client certificate.")
                return
            if not self.may_scrape(ssl.DER_cert_to_PEM_cert(der).encode()):
                self.send_error(HTTPStatus.FORBIDDEN, explain="The metrics need STATUS on REMIT_INSTANCE.")
                return
        try:
            super().do_GET()
        except (ConnectionError, TimeoutError, ssl.SSLError):
            raise
        except Exception as error:  # noqa: BLE001 (whatever a collector meets)
            _log.error("metrics not told", error=str(error))
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)
