"""Reads a small document from an https URL or a file, within limits of size and time."""

import ssl
import stat
import time
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from socket import SHUT_RDWR, socket
from threading import Timer
from typing import Final

from urllib3.connection import HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.util import parse_url

MAX_BYTES: Final = 256 * 1024
TIMEOUT_S: Final = 5.0
_CHUNK: Final = 16 * 1024


class FetchError(Exception):
    """A document cannot be read."""


def check_url(url: str) -> None:
    """Raises ValueError if the URL is no https URL, or holds credentials."""
    try:
        parsed = parse_url(url)
    except HTTPError as error:
        raise ValueError(f"`{url}` is no URL: {error}") from None
    if parsed.scheme != "https" or not parsed.host:
        raise ValueError(f"`{url}`: expected an https URL")
    if parsed.auth is not None:
        raise ValueError("the URL holds credentials: expected none")


def fetch(url: str, ca: Path | None, *, timeout_s: float = TIMEOUT_S) -> bytes:
    """The document behind an https URL. `ca` holds the authorities, None stands for those of the system.

    Follows no redirect and uses no proxy. Raises FetchError.
    """
    parsed = parse_url(url)
    deadline = time.monotonic() + timeout_s
    try:
        # Read each time, because authorities change too.
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
        connection = HTTPSConnection(
            parsed.host.strip("[]") if parsed.host else "",
            parsed.port,
            timeout=timeout_s,
            ssl_context=context,
        )
        connection.connect()
        # The timeout of a socket starts anew with each byte. This one ends the whole answer.
        timer = Timer(timeout_s, _break_off, (connection.sock,))
        timer.daemon = True
        timer.start()
        try:
            return _answer(connection, parsed.request_uri, deadline)
        finally:
            timer.cancel()
            connection.close()
    except (HTTPError, HTTPException, OSError, ValueError) as error:
        if time.monotonic() >= deadline:
            raise FetchError(f"no whole answer within {timeout_s:g} s") from None
        raise FetchError(f"{type(error).__name__}: {error}") from None


def read_file(path: Path) -> bytes:
    """The file's content. Raises FetchError."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise FetchError("it is no regular file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise FetchError(error.strerror or type(error).__name__) from None
    _check_size(len(content))
    return content


def _answer(connection: HTTPSConnection, target: str, deadline: float) -> bytes:
    headers = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "remit"}
    connection.request("GET", target, headers=headers, preload_content=False, decode_content=False)
    response = connection.getresponse()
    if response.status != HTTPStatus.OK:
        raise FetchError(f"the answer has status {response.status}, expected 200")
    body = bytearray()
    while chunk := response.read1(_CHUNK, decode_content=False):
        body += chunk
        _check_size(len(body))
    if time.monotonic() >= deadline:
        raise TimeoutError
    return bytes(body)


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise FetchError(f"it is larger than {MAX_BYTES // 1024} KiB")


def _break_off(connection: socket) -> None:
    with suppress(OSError):  # it has just ended by itself
        # Not `shutdown` of the TLS socket, which would continue without encryption.
        socket.shutdown(connection, SHUT_RDWR)
