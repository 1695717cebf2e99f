"""The time to import rows of run time until they serve, and the memory of a node that has them. See bench/README.md."""

import argparse
import random
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil

from bench import table
from bench.fleet import Node
from bench.servers import scratch
from remit.client import Client, DecisionUnavailable, RuntimeBinding
from remit.core.names import Tenant
from remit.fleet.store import Draft, PolicyStore
from remit.policy.read.tree import Folder, Tree
from tests.tools.faults.postgresql import OwnServer

_ROWS = 1_000_000
_IMPORT_S = 60.0
_START_S = 15.0
_ROW_BYTES = 300
_NAMESPACES = 500
_ROLES = ("role:viewer", "role:editor", "group:team")
_SEED = 1
_FILES = {
    "vocabulary.yaml": b"kinds:\n  FLOW: {class: namespace, actions: [VIEW, UPDATE]}\n"
    b"  BINDING: {class: tenant, actions: [CREATE, DELETE, GRANT_ANY]}\n",
    "acme/roles.csv": b"p, role:viewer, acme, **, FLOW, VIEW, allow\np, role:editor, acme, **, FLOW, *, allow\n"
    b"p, role:owner, acme, **, *, *, allow\n",
    "acme/bindings.csv": b"g, user:alice, role:owner, acme\ng, group:team, role:viewer, acme\n",
    "acme/tenant.yaml": b"runtime:\n  roles: [role:viewer, role:editor]\n  groups: [group:team]\n  scopes: [a.**]\n",
}


def rows(count: int) -> Iterator[RuntimeBinding]:
    """A row for each user."""
    choose = random.Random(_SEED)
    for number in range(count):
        scope = f"a.n{choose.randrange(_NAMESPACES)}.**"
        yield RuntimeBinding(f"user:u{number:07}@example.com", choose.choice(_ROLES), scope)


def published(url: str) -> None:
    folder = Folder("acme", {path: content for path, content in _FILES.items() if "/" in path})
    root = Folder("", {path: content for path, content in _FILES.items() if "/" not in path})
    with PolicyStore(url, timeout_s=60) as store:
        store.migrate()
        store.publish(Draft(Tree(root, {Tenant("acme"): folder}), "bench"), 0)


def resident(node: Node) -> int:
    """Bytes of the node's processes."""
    port = node.target.rpartition(":")[2]
    found = [each for each in psutil.process_iter(["cmdline"]) if f"127.0.0.1:{port}" in (each.info["cmdline"] or ())]
    return sum(one.memory_info().rss for each in found for one in (each, *each.children(recursive=True)))


def served(node: Node, position: str, within_s: float) -> float:
    """When the node answers with the rows."""
    until = time.perf_counter() + within_s
    with Client(node.target, timeout_s=within_s) as client:
        while True:
            try:
                client.tenant("acme", at_least=position).check("user:u0000000@example.com", "VIEW", "FLOW", "a.n1.x")
                return time.perf_counter()
            except DecisionUnavailable:
                # It waits for a moment at a time.
                if time.perf_counter() > until:
                    raise


def measure(count: int, url: str, folder: Path) -> tuple[float, float, float, float]:
    """Seconds of the import and of a start with the rows; bytes a row after the import, and after the start."""
    published(url)
    with Node("node", url, 0, folder) as node:
        empty = resident(node)
        with Client(node.target, timeout_s=600) as client:
            began = time.perf_counter()
            done = client.tenant("acme").import_bindings(rows(count), granter="user:alice", reason="bench")
            accepted = time.perf_counter() - began
            took = served(node, done.position, 600) - began
        print(f"accepted after {accepted:.1f} s, serving after {took:.1f} s", file=sys.stderr)
        imported = (resident(node) - empty) / count
    began = time.perf_counter()
    (folder / "again").mkdir()
    with Node("node", url, 0, folder / "again") as node:
        started = served(node, done.position, 600) - began
        return took, started, imported, (resident(node) - empty) / count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=_ROWS)
    parser.add_argument("--sqlite", action="store_true", help="in place of PostgreSQL")
    options = parser.parse_args()
    with scratch("imports") as made:
        if options.sqlite:
            found = measure(options.rows, f"sqlite:///{made / 'policy.db'}", made)
        else:
            with closing(OwnServer()) as server:
                found = measure(options.rows, server.url, made)
    took, started, imported, again = found
    share = options.rows / _ROWS
    lines = [
        ("import until it serves, s", took, _IMPORT_S * share),
        ("start of a new node, s", started, _START_S * share),
        ("bytes a row after the import", imported, _ROW_BYTES),
        ("bytes a row of a new node", again, _ROW_BYTES),
    ]
    cells = [(name, f"{value:.1f}", f"{aim:.1f}", table.target(value <= aim)) for name, value, aim in lines]
    table.show((f"{options.rows:,} rows", "found", "aim", ""), cells)
    return 0 if all(value <= aim for _, value, aim in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
