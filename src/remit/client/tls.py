import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc


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

    def credentials(self) -> grpc.ChannelCredentials:
        """Raises OSError if a file cannot be read."""
        server_ca, key, cert = (Path(file).read_bytes() for file in (self.server_ca, self.key, self.cert))
        return grpc.ssl_channel_credentials(server_ca, key, cert)

    def verify(self) -> None:
        """Raises OSError if a file cannot be read, or if certificate and key do not fit."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.server_ca)
        # Without a password OpenSSL would ask for one at the terminal.
        context.load_cert_chain(self.cert, self.key, password="")


@dataclass(frozen=True, slots=True)
class ServerTls:
    """PEM file: the authority that signed the server's certificate. The client shows a token in place of a certificate."""

    server_ca: Path | str

    @property
    def files(self) -> tuple[Path | str, ...]:
        return (self.server_ca,)

    def credentials(self) -> grpc.ChannelCredentials:
        """Raises OSError where the file cannot be read."""
        return grpc.ssl_channel_credentials(Path(self.server_ca).read_bytes())

    def verify(self) -> None:
        """Raises OSError if the file holds no certificate."""
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(self.server_ca)
