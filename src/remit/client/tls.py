import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from remit.core.pem import no_authority, not_a_pair

Pem = tuple[bytes, ...]
"""The contents of the files, in their order."""


@dataclass(frozen=True, slots=True)
class MutualTls:
    """PEM files: the CA that signed the server's certificate, and this client's own certificate and key.

    A client connects anew when one of them changes.
    """

    server_ca: Path | str
    cert: Path | str
    key: Path | str

    @property
    def files(self) -> tuple[Path | str, ...]:
        return self.server_ca, self.cert, self.key

    def read(self) -> Pem:
        """Raises OSError if a file cannot be read, or if the files do not fit."""
        self.context()
        return _contents(self.files)

    def credentials(self, pem: Pem) -> grpc.ChannelCredentials:
        server_ca, cert, key = pem
        return grpc.ssl_channel_credentials(server_ca, key, cert)

    def context(self) -> ssl.SSLContext:
        """The same for Python's TLS. Raises OSError if a file cannot be read, or if certificate and key do not fit."""
        context = _trusting(self.server_ca)
        _contents((self.cert, self.key))
        try:
            # Without a password OpenSSL would ask for one at the terminal.
            context.load_cert_chain(self.cert, self.key, password="")
        except ssl.SSLError as error:
            raise not_a_pair(self.cert, self.key, error) from None
        return context


@dataclass(frozen=True, slots=True)
class ServerTls:
    """PEM file: the authority that signed the server's certificate. The client shows a token in place of a certificate."""

    server_ca: Path | str

    @property
    def files(self) -> tuple[Path | str, ...]:
        return (self.server_ca,)

    def read(self) -> Pem:
        """Raises OSError if the file cannot be read, or holds no certificate."""
        self.context()
        return _contents(self.files)

    def credentials(self, pem: Pem) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(*pem)

    def context(self) -> ssl.SSLContext:
        """The same for Python's TLS. Raises OSError if the file cannot be read, or holds no certificate."""
        return _trusting(self.server_ca)


def _contents(files: tuple[Path | str, ...]) -> Pem:
    """Raises OSError with the name of the file that cannot be read, which OpenSSL's own error lacks."""
    return tuple(Path(file).read_bytes() for file in files)


def _trusting(server_ca: Path | str) -> ssl.SSLContext:
    _contents((server_ca,))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(server_ca)
    except ssl.SSLError as error:
        raise no_authority(server_ca, error) from None
    return context
