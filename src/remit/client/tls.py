from dataclasses import dataclass
from pathlib import Path

import grpc


@dataclass(frozen=True, slots=True)
class MutualTls:
    """PEM files: the CA that signed the server's certificate, and this client's own certificate and key."""

    server_ca: Path | str
    cert: Path | str
    key: Path | str

    def credentials(self) -> grpc.ChannelCredentials:
        """Raises OSError if a file cannot be read."""
        server_ca, key, cert = (Path(file).read_bytes() for file in (self.server_ca, self.key, self.cert))
        return grpc.ssl_channel_credentials(server_ca, key, cert)
