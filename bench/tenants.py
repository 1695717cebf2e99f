"""What a server takes that has many small tenants: its starts, its edits, and what it costs when nothing happens. See
bench/README.md."""

import argparse
import json
import random
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Final
from urllib.request import urlopen

import grpc
import psutil

from bench import machine, servers, table
from bench.fleet import Watch
from bench.servers import REMIT, Server
from remit.client import Client, DecisionUnavailable, RuntimeBinding
from remit.core.names import Tenant
from remit.policy.read.limits import Limits
from remit.policy.read.tree import read_tree
from remit.v1 import status_service_pb2, status_service_pb2_grpc

_TENANTS: Final = 10_000
_PATIENCE_S: Final = 3_600.0
_REST_S: Final = 15.0
"""Time after a start before the server counts as idle."""
_IDLE_S: Final = 20.0
_EDITS: Final = 3
_SCRAPES: Final = 5
_PAUSE_S: Final = 0.25
"""Between two suspensions."""
_SCRAPE_S: Final = 60.0
_AIMS: Final = {
    "first start, s": 60.0,
    "one core while idle, %": 3.0,
    "a scrape of the metrics, ms": 200.0,
    "an edit of one tenant until it is published, s": 3.0,
    "an edit of one tenant until it serves, s": 3.0,
    "an edit of the root until all tenants serve it, s": 120.0,
    "the slowest suspension meanwhile, s": 1.0,
    "restart, s": 15.0,
    "one core while idle, after the restart, %": 3.0,
}
_VOCABULARY: Final = (
    "kinds:\n  FLOW: {class: namespace, actions: [VIEW, UPDATE]}\n"
    "  BINDING: {class: tenant, actions: [CREATE, DELETE, GRANT_ANY]}\n"
)


class Policies:
    """A policy directory of small tenants, each edited as an editor does: a new file in the old one's place."""

    def __init__(self, directory: Path, count: int) -> None:
        self.directory = directory
        self.tenants = [Tenant(f"t{number:05}") for number in range(count)]
        self._edits = 0
        directory.mkdir()
        (directory / "vocabulary.yaml").write_text(_VOCABULARY)
        for tenant in self.tenants:
            folder = directory / tenant
            folder.mkdir()
            (folder / "roles.csv").write_text(
                f"p, role:viewer, {tenant}, **, FLOW, VIEW, allow\np, role:owner, {tenant}, **, *, *, allow\n"
                f"p, group:suspended, {tenant}, **, *, *, deny\n"
            )
            users = "".join(f"g, user:u{number}, role:viewer, {tenant}\n" for number in range(10))
            (folder / "bindings.csv").write_text(f"g, user:alice, role:owner, {tenant}\n{users}")
            (folder / "tenant.yaml").write_text("runtime:\n  suspend: group:suspended\n")

    def edit(self, file: str) -> None:
        """Appends a comment to a file below the directory."""
        self._edits += 1
        path = self.directory / file
        beside = path.with_suffix(".bak")
        beside.write_text(f"{path.read_text()}# {self._edits}\n")
        beside.replace(path)


class Node(Server):
    def __init__(self, policies: Policies, scratch: Path) -> None:
        port = servers.free_port()
        self.metrics = f"127.0.0.1:{servers.free_port()}"
        self.revisions = scratch / "revisions"
        self.store = scratch / "policy.db"
        command = [
            str(REMIT),
            "serve",
            "--policies",
            str(policies.directory),
            "--policy-store",
            f"sqlite:///{self.store}",
        ]
        command += ["--releases", str(scratch / "releases"), "--revisions", str(self.revisions)]
        command += ["--listen", f"127.0.0.1:{port}", "--metrics", self.metrics, "--http", ""]
        command += ["--audit", f"sqlite:///{scratch / 'audit.db'}"]
        cores = ",".join(map(str, machine.usable_cores()))
        super().__init__("remit tenants", command, port=port, core=cores, scratch=scratch, start_s=_PATIENCE_S)

    def serving(self, tenants: int) -> set[str]:
        """Waits until so many tenants serve their newest files. Returns their revisions."""
        with grpc.insecure_channel(self.target, options=[("grpc.max_receive_message_length", -1)]) as channel:
            ask = status_service_pb2_grpc.StatusServiceStub(channel).GetStatus
            while True:
                found = ask(status_service_pb2.GetStatusRequest(), wait_for_ready=True).tenants
                serving = {each.revision for each in found if each.revision and not each.diagnostics}
                if len(serving) == tenants:
                    return serving
                time.sleep(1.0)

    def processor_s(self) -> float:
        """Processor time of its processes."""
        assert self._process is not None
        process = psutil.Process(self._process.pid)
        return float(sum(sum(each.cpu_times()[:2]) for each in (process, *process.children(recursive=True))))

    def idle(self) -> float:
        """Percent of one core."""
        time.sleep(_REST_S)
        before, began = self.processor_s(), time.perf_counter()
        time.sleep(_IDLE_S)
        return (self.processor_s() - before) / (time.perf_counter() - began) * 100

    def scrape(self) -> tuple[float, int]:
        """Milliseconds, and samples."""
        began = time.perf_counter()
        with urlopen(f"http://{self.metrics}/metrics", timeout=_SCRAPE_S) as answer:
            lines = answer.read().splitlines()
        return (time.perf_counter() - began) * 1e3, sum(not line.startswith(b"#") for line in lines)

    def releases(self) -> int:
        with closing(sqlite3.connect(f"file:{self.store}?mode=ro", uri=True)) as store:
            return int(store.execute("SELECT max(seq) FROM releases").fetchone()[0])


def until(condition: Callable[[], bool], pause_s: float = 0.02) -> float:
    """The time when it holds."""
    ends = time.perf_counter() + _PATIENCE_S
    while not condition():
        if time.perf_counter() > ends:
            raise RuntimeError(f"nothing came of it in {_PATIENCE_S:g} s")
        time.sleep(pause_s)
    return time.perf_counter()


def edited(node: Node, policies: Policies, tenant: Tenant) -> tuple[float, float]:
    """Seconds from an edit of one tenant until it is published, and until it serves."""
    watch, before = Watch(node, tenant, served_s=_PATIENCE_S), node.releases()
    began = time.perf_counter()
    policies.edit(f"{tenant}/bindings.csv")
    published = until(lambda: node.releases() > before)
    served = watch.served(read_tree(policies.directory, Limits(), tenant).revision(tenant))
    watch.close()
    return published - began, served - began


@contextmanager
def suspending(node: Node, policies: Policies) -> Iterator[list[float]]:
    """Suspends somebody of another tenant all the time as long as the block runs. The list gets the seconds from the first
    request until its change is acknowledged."""
    took: list[float] = []
    stop = Event()
    choose = random.Random(1)

    def suspend(client: Client, tenant: Tenant, number: int) -> bool:
        row = RuntimeBinding(f"user:s{number}", "group:suspended")
        try:
            position = client.tenant(tenant).change_bindings([row], granter="user:alice").position
            answer = client.tenant(tenant, at_least=position).check(row.member, "VIEW", "FLOW", "a")
        except DecisionUnavailable as error:
            print(f"{tenant}: {error}", file=sys.stderr)
            return False
        return not answer.allowed

    def follow() -> None:
        with Client(node.target, timeout_s=30.0) as client:
            number = 0
            while not stop.wait(_PAUSE_S):
                number += 1
                tenant, began = choose.choice(policies.tenants), time.perf_counter()
                while not suspend(client, tenant, number) and not stop.is_set():
                    pass
                took.append(time.perf_counter() - began)

    thread = Thread(target=follow)
    thread.start()
    try:
        yield took
    finally:
        stop.set()
        thread.join()


def measure(count: int, scratch: Path) -> dict[str, float]:
    policies = Policies(scratch / "policies", count)
    found: dict[str, float] = {}

    def note(name: str, value: float) -> None:
        found[name] = value
        print(f"{name}: {value:,.2f}", file=sys.stderr, flush=True)

    began = time.perf_counter()
    with Node(policies, scratch) as node:
        old = node.serving(count)
        note("first start, s", time.perf_counter() - began)
        note("one core while idle, %", node.idle())
        scrapes = [node.scrape() for _ in range(_SCRAPES)]
        note("a scrape of the metrics, ms", statistics.median(took for took, _ in scrapes))
        note("samples of a scrape", scrapes[-1][1])
        edits = [edited(node, policies, policies.tenants[-1 - number]) for number in range(_EDITS)]
        published, served = (statistics.median(each) for each in zip(*edits, strict=True))
        note("an edit of one tenant until it is published, s", published)
        note("an edit of one tenant until it serves, s", served)
        old, before = node.serving(count), node.releases()
        with suspending(node, policies) as took:
            began = time.perf_counter()
            policies.edit("vocabulary.yaml")
            root_published = until(lambda: node.releases() > before)
            note("an edit of the root until it is published, s", root_published - began)
            until(lambda: not (node.serving(count) & old), 1.0)
            note("an edit of the root until all tenants serve it, s", time.perf_counter() - began)
        note("suspensions meanwhile", len(took))
        note("the median suspension meanwhile, s", statistics.median(took))
        note("the slowest suspension meanwhile, s", max(took))
        note("files in `revisions`", sum(each.is_file() for each in node.revisions.rglob("*")))
    began = time.perf_counter()
    with Node(policies, scratch) as node:
        node.serving(count)
        note("restart, s", time.perf_counter() - began)
        note("one core while idle, after the restart, %", node.idle())
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=_TENANTS)
    options = parser.parse_args()
    print(f"machine: {machine.describe()}\n{machine.quietness()}\n")
    with servers.scratch("tenants") as scratch:
        found = measure(options.tenants, scratch)
    rows = [
        [
            name,
            f"{value:,.2f}",
            *((f"<= {aim:g}", table.target(value <= aim)) if (aim := _AIMS.get(name)) else ("", "")),
        ]
        for name, value in found.items()
    ]
    table.show([f"{options.tenants:,} tenants", "measured", "aim", ""], rows)
    path = servers.CACHE / f"tenants-{time.strftime('%Y%m%dT%H%M%S')}.json"
    path.write_text(json.dumps({"machine": machine.describe(), "tenants": options.tenants, **found}, indent=1))
    print(f"figures: {path.relative_to(servers.BENCH.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
