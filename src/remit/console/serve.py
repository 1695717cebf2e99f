"""Serves the console with uvicorn, until a signal ends it."""

import asyncio
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from remit.core.addresses import split_address
from remit.core.pem import not_a_pair

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LOOK_EVERY_S: Final = 5.0


class BrowserTls:
    """What browsers see, from PEM files that may be renewed at any time. Raises OSError if one cannot be read or if they do
    not fit."""

    def __init__(self, cert: Path, key: Path) -> None:
        self._cert = cert
        self._key = key
        self._stamps = self._read_stamps()
        self.context = self._made()

    async def renew(self) -> None:
        """Looks at the files for ever. New connections see a new certificate once both files fit each other."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            with suppress(OSError):
                stamps = self._read_stamps()
                if stamps != self._stamps:
                    self._made()
                    self.context.load_cert_chain(self._cert, self._key, password="")
                    self._stamps = stamps

    def _read_stamps(self) -> list[tuple[int, int]]:
        return [(found.st_mtime_ns, found.st_ino) for found in (file.stat() for file in (self._cert, self._key))]

    def _made(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        for file in (self._cert, self._key):
            file.open("rb").close()  # OpenSSL names no file that is missing
        try:
            context.load_cert_chain(self._cert, self._key, password="")
        except ssl.SSLError as error:
            raise not_a_pair(self._cert, self._key, error) from None
        return context


class ConsoleServer:
    """Raises OSError if the address is taken."""

    def __init__(self, listen: str, application: ASGIApp, tls: BrowserTls | None = None) -> None:
        host, port = split_address("--listen", listen)
        config = uvicorn.Config(
            application,
            ws="none",
            lifespan="on",
            interface="asgi3",
            log_config=None,
            log_level="warning",
            access_log=False,
            # Anybody can send these headers.
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=2,
            workers=1,
            ssl_context_factory=None if tls is None else lambda *_: tls.context,
        )
        self._tls = tls
        self._server = _SignalledServer(config)
        self._socket = _bound(host.strip("[]"), port)
        self.port: int = self._socket.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if tls is not None else 'http'}://{shown}:{self.port}/"

    def run(self, begun: Callable[[], None]) -> None:
        """Serves until SIGINT or SIGTERM. Calls `begun` as soon as the console takes requests."""
        asyncio.run(self._serve(begun))

    def stop(self) -> None:
        self._server.should_exit = True

    async def _serve(self, begun: Callable[[], None]) -> None:
        serving = asyncio.create_task(self._server.serve([self._socket]))
        while not self._server.started and not serving.done():  # noqa: ASYNC110 (uvicorn tells nobody)
            await asyncio.sleep(0.01)
        if not serving.done():
            begun()
        renewing = asyncio.create_task(self._tls.renew()) if self._tls is not None else None
        await serving
        if renewing is not None:
            renewing.cancel()


class _SignalledServer(uvicorn.Server):
    """Ends at a signal, and then returns: uvicorn itself would raise the signal again."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        in_main_thread = threading.current_thread() is threading.main_thread()
        for each in _SIGNALS if in_main_thread else ():
            loop.add_signal_handler(each, self._end)
        try:
            yield
        finally:
            for each in _SIGNALS if in_main_thread else ():
                loop.remove_signal_handler(each)

    def _end(self) -> None:
        self.should_exit = True


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made
