"""A node with its servers in this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.server import DEADLINE_S
from support.trees import Files, snapshot_of, write

from remit.client import Client
from remit.policy.live import TenantPolicy, TenantState
from remit.rpc.server import Server
from remit.server.web import web_server
from remit.service.node import ServerNode
from remit.service.settings_reader import read_settings
from remit.service.workers.process_settings import ProcessSettings
from remit.web.server import WebServer


@contextmanager
def both_ways(folder: Path, policies: Path, **flags: Any) -> Iterator[tuple[ServerNode, Server, WebServer]]:
    """A node, its gRPC server and its HTTP server, which serve until the end."""
    given = {"policies": policies, "audit": f"sqlite:///{folder / 'audit.db'}", "listen": "127.0.0.1:0"}
    given |= {"http": "127.0.0.1:0", "metrics": "", "revisions": "", "watch": False, "grace_s": 1.0}
    node = ServerNode.start(ProcessSettings.single(read_settings({**given, **flags})))
    server = Server(node)
    web = web_server(node, server)
    server.start()
    web.start()
    yield node, server, web
    server.stop(web.stop)


@contextmanager
def asked(folder: Path, files: Files, **flags: Any) -> Iterator[tuple[ServerNode, Client]]:
    """A node over these policy files, and a client of its gRPC server."""
    with (
        both_ways(folder, write(folder / "policies", files), **flags) as (node, server, _),
        Client(f"127.0.0.1:{server.port}", timeout_s=DEADLINE_S) as client,
    ):
        yield node, client


def serve_instead(node: ServerNode, files: Files, tenant: str) -> None:
    """Puts the policy of these files in the place of what serves the tenant."""
    snapshot = snapshot_of(files, tenant)
    node.live.put(TenantPolicy(snapshot.tenant, TenantState.SERVING, 0, snapshot))
