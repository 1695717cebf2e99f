"""Pages of the console, from the request to the last byte: of the example company, and of a large tenant with a large log.
See bench/README.md for the method."""

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

from bench import audit_log, machine, table, worlds
from bench.servers import CACHE, REMIT, Server, free_port, scratch
from remit.client import Client

_ROUNDS: Final = 15
_DRAWN: Final = (500, 1_000)
"""Nodes and edges of the graph that somebody pastes."""
_EXAMPLE_MS: Final = 100.0
_LARGE_MS: Final = 300.0
_DAY: Final = time.strftime("%Y-%m-%d", time.gmtime((audit_log.END_US - 3 * 86_400_000_000) / 1e6))


class _Beside(Server):
    """`remit serve` over a store that is there already."""

    def __init__(self, name: str, policies: Path, store: Path, core: int, folder: Path) -> None:
        port = free_port()
        command = [str(REMIT), "serve", "--policies", str(policies), "--listen", f"127.0.0.1:{port}", "--http", ""]
        command += ["--audit", f"sqlite:///{store}", "--audit-migrate", "--metrics", ""]
        command += ["--revisions", str(folder / f"{name}-revisions"), "--policy-max-rows", "1000000"]
        super().__init__(name, command, port=port, core=core, scratch=folder)


@contextmanager
def console(target: str, core: int) -> Iterator[str]:
    """The address of a console of that server."""
    command = ["taskset", "-c", str(core), str(REMIT), "console", "--listen", "127.0.0.1:0", "--target", target]
    command += ["--graphs", "docs/graphs", "--timeout", "60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None
        try:
            yield found[0].rstrip("/")
        finally:
            process.terminate()


def measure(root: str, paths: dict[str, str], target_ms: float) -> list[list[str]]:
    rows = []
    for name, path in paths.items():
        taken: list[float] = []
        size = 0
        for _ in range(_ROUNDS + 1):
            start = time.perf_counter()
            with urlopen(root + path, timeout=60) as answer:
                size = len(answer.read())
            taken.append((time.perf_counter() - start) * 1000)
        median = statistics.median(taken[1:])
        rows.append(
            [
                name,
                f"{size / 1024:.0f} KiB",
                f"{median:.0f} ms",
                f"{max(taken[1:]):.0f} ms",
                table.target(median <= target_ms),
            ]
        )
    return rows


def paths_of(tenant: str, principal: str, namespace: str, kind: str, client: Client) -> dict[str, str]:
    record = client.tenant(tenant).check(principal, "VIEW", kind, namespace).decision_id
    who = quote(principal, safe="")
    asked = f"p={who}&a=VIEW&k={kind}&ns={namespace}"
    return {
        "overview": "/",
        "tenant": f"/t/{tenant}",
        "explain": f"/t/{tenant}/explain?{asked}",
        "who": f"/t/{tenant}/who?a=VIEW&k={kind}&ns={namespace}",
        "where": f"/t/{tenant}/where?p={who}",
        "what": f"/t/{tenant}/what?p={who}&ns={namespace}",
        "principal": f"/t/{tenant}/principal?p={who}",
        "matrix": f"/t/{tenant}/matrix?k={kind}&ns={namespace}",
        "names": f"/t/{tenant}/names",
        "namespace": f"/t/{tenant}/namespace?ns={namespace}",
        "source": f"/t/{tenant}/source?file={tenant}/bindings.csv&line=20",
        "decisions": f"/t/{tenant}/decisions",
        "decisions, denied, of a day": f"/t/{tenant}/decisions?effect=deny&until={_DAY}",
        "live": f"/t/{tenant}/live",
        "record": f"/t/{tenant}/decisions/{record}",
        "denials of a week": f"/t/{tenant}/denials?hours=168",
        "revisions": f"/t/{tenant}/revisions",
        "bindings": f"/t/{tenant}/bindings",
    }


def drawing(root: str) -> list[list[str]]:
    """A page of somebody else, with nothing beside it and while a large graph is drawn."""
    nodes, edges = _DRAWN
    ends = [(at, at + 1) for at in range(nodes - 1)]
    ends += [(at % 20, nodes - 1 - at // 20) for at in range(edges - len(ends))]
    graph = {
        "nodes": [{"uid": f"n{at}", "kind": "FLOW", "namespace": "acme.finance"} for at in range(nodes)],
        "edges": [{"source": f"n{one}", "target": f"n{two}", "relation": "SUBFLOW"} for one, two in ends],
    }
    form = urlencode({"p": "user:alice", "graph": json.dumps(graph)}).encode()
    post = Request(f"{root}/t/acme/graph", form, {"sec-fetch-site": "same-origin"})

    def pages(*, until: Callable[[int], bool]) -> list[float]:
        taken: list[float] = []
        while not until(len(taken)):
            start = time.perf_counter()
            with urlopen(f"{root}/t/acme", timeout=300) as answer:
                answer.read()
            taken.append((time.perf_counter() - start) * 1000)
        return sorted(taken)

    def draw() -> float:
        start = time.perf_counter()
        with urlopen(post, timeout=300) as answer:
            answer.read()
        return time.perf_counter() - start

    alone = pages(until=lambda done: done == 300)
    with ThreadPoolExecutor(1) as threads:
        drawn = threads.submit(draw)
        meanwhile = pages(until=lambda done: done > 0 and drawn.done())
    return [
        [name, str(len(taken)), *(f"{taken[int((len(taken) - 1) * part)]:.0f} ms" for part in (0.5, 0.99, 1))]
        for name, taken in (
            ("nothing", alone),
            (f"a graph of {nodes} nodes and {edges} edges, {drawn.result():.1f} s", meanwhile),
        )
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--drawing", action="store_true", help="only a page of one person while another draws a graph")
    asked = parser.parse_args()
    print(f"machine: {machine.describe()}\n{machine.quietness()}\n")
    load, served = machine.cores()
    CACHE.mkdir(exist_ok=True)
    with scratch("console") as folder:
        with (
            _Beside("example", Path("policies"), folder / "example.db", served, folder) as server,
            Client(server.target, timeout_s=60) as client,
            console(server.target, load) as root,
        ):
            if asked.drawing:
                table.show(["the page of a tenant, beside", "pages", "p50", "p99", "worst"], drawing(root))
                return 0
            heading = ["page of the example company", "size", "median", "worst", f"target {_EXAMPLE_MS:g} ms"]
            table.show(
                heading, measure(root, paths_of("acme", "user:bob", "acme.finance", "FLOW", client), _EXAMPLE_MS)
            )
        log = CACHE / f"audit-{asked.records}.db"
        audit_log.written(log, asked.records).close()
        shutil.copy(log, folder / "large.db")
        world = worlds.make(asked.rows, 1)
        world.write(folder / "large")
        with (
            _Beside("large", folder / "large", folder / "large.db", served, folder) as server,
            Client(server.target, timeout_s=60) as client,
            console(server.target, load) as root,
        ):
            print(f"\n{asked.rows:,} rows, {asked.records:,} records")
            heading = ["page of a large tenant", "size", "median", "worst", f"target {_LARGE_MS:g} ms"]
            names = (world.users[0], world.namespaces[0][0], worlds.KINDS[0])
            table.show(heading, measure(root, paths_of(worlds.TENANT, *names, client), _LARGE_MS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
