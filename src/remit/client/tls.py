from dataclasses import dataclass
from pathlib import Path

import grpc


@dataclass(frozen=True, slots=True)
class MutualTls:
    """PEM files: the authority that signed the server's certificate, and this client's own certificate and key."""

    server_ca: Path
    cert: Path
    key: Path

    def credentials(self) -> grpc.ChannelCredentials:
        """Raises OSError where a file cannot be read."""
        return grpc.ssl_channel_credentials(self.server_ca.read_bytes(), self.key.read_bytes(), self.cert.read_bytes())
