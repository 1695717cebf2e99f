"""Editing the policies of a running server, and seeing what became of it."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from support.server import DEADLINE_S, Server, until

from remit.v1 import status_service_pb2
from remit.v1.status_service_pb2 import TenantStatus

SERVING = status_service_pb2.TENANT_STATE_SERVING
STALE = status_service_pb2.TENANT_STATE_STALE
UNAVAILABLE = status_service_pb2.TENANT_STATE_UNAVAILABLE
PINNED = status_service_pb2.TENANT_STATE_PINNED

# As little rest as a test's own writes need. No edit is found but by the system's word.
QUICK = ("--settle-s", "0.05", "--watch-every-s", "3600")
DENIED = ("user:bob", "UPDATE", "FLOW", "acme.data.reporting")
"""What the example company denies, and `GRANT` allows."""
GRANT = "g, user:bob, role:deployer, acme/acme.data.reporting\n"


def append(path: Path, text: str) -> None:
    """As an editor does: a whole new file in the old one's place."""
    beside = path.with_name(f".{path.name}.swp")
    beside.write_text(path.read_text() + text)
    beside.replace(path)


def statuses(server: Server) -> dict[str, TenantStatus]:
    with server.client() as client:
        return {each.tenant: each for each in client.status().tenants}


def until_status(server: Server, holds: Callable[[TenantStatus], object], tenant: str = "acme") -> TenantStatus:
    """The tenant's status, once it is so."""
    found: list[TenantStatus] = []

    def so() -> bool:
        found[:] = [each for each in client.status(tenant).tenants if holds(each)]
        return bool(found)

    with server.client() as client:
        until(so, f"the status of {tenant}\n{server.log_text()}")
    return found[0]


def allows(server: Server, tenant: str, *question: str) -> bool:
    with server.client() as client:
        return client.tenant(tenant).check(*question).allowed


def git(directory: Path, *words: str) -> str:
    names = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(
        ["git", "-C", directory, *names, *words], check=True, capture_output=True, text=True, timeout=DEADLINE_S
    )
    return done.stdout.strip()
