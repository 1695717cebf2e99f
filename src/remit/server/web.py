"""Assembles the HTTP server of a node from the APIs that it offers."""

from remit.authzen.application import MOUNTED, AuthzenApplication
from remit.authzen.page_token import SearchPages
from remit.authzen.servicer import AuthzenServicer
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
    if node.settings.authzen:
        application = authzen_application(node, grpc, calls)
        for first in MOUNTED:
            router.mount(first, application)
    return WebServer(node.settings, router)


def authzen_application(node: ServerNode, grpc: Server, calls: HttpCalls) -> AuthzenApplication:
    """The AuthZEN API of a node."""
    settings = node.settings
    servicer = AuthzenServicer(
        SearchPages(settings.page_secret),
        node.point,
        batch_limit=settings.batch_limit,
        max_message_bytes=settings.max_message_bytes,
        call_timeout_s=settings.call_timeout_s,
    )
    return AuthzenApplication(
        calls,
        servicer.methods(grpc.classes),
        default_tenant=settings.authzen_tenant,
        base_url=settings.authzen_base_url,
        max_message_bytes=settings.max_message_bytes,
    )
