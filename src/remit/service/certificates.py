"""The certificates of the server: reads the PEM files again when they change, and keeps the last good ones."""

import ssl
import time
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple

import structlog

from remit.core.pem import no_authority, not_a_pair
from remit.service.errors import StartupError
from remit.service.file_stamps import FileStamps, file_stamps, youngest_s
from remit.service.settings import Settings

_YOUNG_S: Final = 2.0
"""Files that changed this recently may still be changing, even if their stamps stay the same."""

_log = structlog.get_logger("remit")


class PemFiles(NamedTuple):
    """The content of the files."""

    cert: bytes
    key: bytes
    client_ca: bytes | None
    """None if callers need no certificate."""
    context: ssl.SSLContext
    """The same, for the metrics port. It asks for a client certificate, verifies one that comes, and requires none."""


class ServerCertificates:
    """Certificate, key and client CA. Safe to share between threads."""

    def __init__(self, cert: Path, key: Path, client_ca: Path | None) -> None:
        """Reads the files. Raises OSError, also if they do not fit together."""
        self._paths = (cert, key, *([client_ca] if client_ca is not None else []))
        self._mutex = Lock()
        self._seen = file_stamps(self._paths)
        self._current = _read(self._paths)

    @classmethod
    def of(cls, settings: Settings) -> "ServerCertificates | None":
        """None without TLS. Raises StartupError."""
        if settings.tls is None:
            return None
        try:
            return cls(*settings.tls, settings.tls_client_ca)
        except OSError as error:
            if error.filename is not None:
                raise StartupError(f"`{error.filename}` cannot be read: {error.strerror}") from error
            raise StartupError(str(error)) from error

    def newest(self) -> PemFiles:
        """The last good version. Reads the files if one of them changed."""
        with self._mutex:
            seen = file_stamps(self._paths)
            if seen != self._seen:
                self._take(seen)
            return self._current

    def _take(self, seen: FileStamps) -> None:
        try:
            found = _read(self._paths)
        except OSError as error:
            # Look again at young files: a certificate is written before its key, or the other way round.
            if time.time() - youngest_s(seen) > _YOUNG_S:
                self._seen = seen
            _log.error("certificates not taken over: the last good ones serve", error=str(error))
            return
        if file_stamps(self._paths) == seen:
            self._seen, self._current = seen, found
            _log.info("certificates taken over", files=[str(path) for path in self._paths])


def _read(paths: tuple[Path, ...]) -> PemFiles:
    """Raises OSError, which includes ssl.SSLError."""
    cert, key, *authorities = (path.read_bytes() for path in paths)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without a password OpenSSL would ask for one at the terminal.
        context.load_cert_chain(paths[0], paths[1], password="")
    except ssl.SSLError as error:
        raise not_a_pair(paths[0], paths[1], error) from None
    client_ca = authorities[0] if authorities else None
    if client_ca is not None:
        # Probes have no certificate. The handler refuses everything else without one.
        context.verify_mode = ssl.CERT_OPTIONAL
        try:
            context.load_verify_locations(paths[2])
        except ssl.SSLError as error:
            raise no_authority(paths[2], error) from None
    return PemFiles(cert, key, client_ca, context)
