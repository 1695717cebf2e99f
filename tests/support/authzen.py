"""An AuthZEN server in this process, over real HTTP."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from support.server import DEADLINE_S

from remit.rpc.server import Server
from remit.server.web import web_server
from remit.service.node import ServerNode
from remit.service.settings_reader import read_settings
from remit.service.workers.process_settings import ProcessSettings

FIXTURE = Path(__file__).parents[1] / "authzen" / "fixture"
ALICE, BOB = {"type": "user", "id": "alice"}, {"type": "user", "id": "bob"}
READ, WRITE = {"name": "read"}, {"name": "write"}
RECORD = {"type": "record", "id": "record-1"}
EVALUATION: Mapping[str, Any] = {"subject": ALICE, "action": READ, "resource": RECORD}


class ServedAuthzen(NamedTuple):
    node: ServerNode
    grpc: Server
    http: httpx.Client
    """Below `/access/v1` of tenant acme."""

    def ask(self, path: str, body: Any, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(f"/tenants/acme/access/v1/{path}", json=body, headers=named)

    def decision(self, body: Any) -> Any:
        return self.ask("evaluation", body).json().get("decision")

    def recorded(self) -> list[tuple[str, ...]]:
        """Principal, action, kind, namespace and resource's id of the records, oldest first."""
        return [
            (each.principal, each.action, each.kind, each.namespace, each.resource_id)
            for each in self.node.records.all_decisions()
        ]


@contextmanager
def served_authzen(policies: Path, folder: Path, **settings: Any) -> Iterator[ServedAuthzen]:
    flags = {"policies": policies, "audit": f"sqlite:///{folder / 'audit.db'}", "listen": "127.0.0.1:0"}
    flags |= {"http": "127.0.0.1:0", "metrics": "", "revisions": "", "watch": False, "authzen": True, **settings}
    node = ServerNode.start(ProcessSettings.single(read_settings(flags)))
    grpc_server = Server(node).start()
    web = web_server(node, grpc_server).start()
    with httpx.Client(base_url=f"http://127.0.0.1:{web.port}", timeout=DEADLINE_S) as http:
        yield ServedAuthzen(node, grpc_server, http)
    web.stop()
    grpc_server.stop()
