"""Assembles the HTTP server of a node from the APIs that it offers."""

from remit.connect.application import connect_applications
from remit.rpc.server import Server
from remit.service.node import ServerNode
from remit.web.calls import HttpCalls
from remit.web.router import Router
from remit.web.server import WebServer


def web_server(node: ServerNode, grpc: Server) -> WebServer:
    """Binds the address of `http`. Raises StartupError if it cannot."""
    calls = HttpCalls(grpc.boundary, grpc.expiry)
    router = Router(node.settings.origins)
    for service, application in connect_applications(calls, node.settings.max_message_bytes).items():
        router.mount(service, application)
    return WebServer(node.settings, router)
