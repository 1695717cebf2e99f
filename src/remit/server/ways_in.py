"""The ways into a node: gRPC, with the service for Envoy if it has one, and the API over HTTP beside it."""

from typing import TYPE_CHECKING, Self

from remit.audit.journal.stats import Drained
from remit.envoy.authorization import serve_envoy
from remit.rpc.server import Server
from remit.service.node import ServerNode

if TYPE_CHECKING:
    from remit.web.server import WebServer


class WaysIn:
    """The gRPC server of a node and its HTTP server, if it has one: they start and stop together."""

    def __init__(self, node: ServerNode) -> None:
        """Binds the addresses, without serving yet. Raises StartupError if it cannot."""
        self._web: WebServer | None = None
        self.grpc = Server(node)
        if node.settings.http:
            # What it needs is in an extra, and takes a while to import.
            from remit.server.web import web_server  # noqa: PLC0415

            self._web = web_server(node, self.grpc)
        if node.settings.envoy:
            serve_envoy(node, self.grpc)

    @property
    def ports(self) -> dict[str, int]:
        """As the log shows them; 0 for none."""
        http_port = 0 if self._web is None else self._web.port
        return {"port": self.grpc.port, "http_port": http_port, "metrics_port": self.grpc.metrics_port}

    def start(self) -> Self:
        self.grpc.start()
        if self._web is not None:
            self._web.start()
        return self

    def stop(self) -> Drained:
        """Refuses new calls, ends those in flight within the grace period, and drains the journal."""
        return self.grpc.stop() if self._web is None else self.grpc.stop(self._web.stop)
