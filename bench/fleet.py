"""What a fleet of three nodes takes to serve a release, and what it costs. See bench/README.md for the method."""

import argparse
import json
import logging
import random
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from threading import Condition, Event, Thread
from typing import Any, Final, Self
from unittest.mock import patch

import grpc
import structlog
from sqlalchemy import create_engine, event, make_url, text

from bench import example, h2load, machine, servers, table, worlds
from bench.h2load import Load, Run, VoidFigureError
from bench.servers import BENCH, REMIT, Server
from remit.core.names import Tenant
from remit.fleet.journal import ReleaseJournal
from remit.fleet.puller import Puller
from remit.fleet.store import Draft, PolicyStore
from remit.fleet.trust import Trust
from remit.policy.read.tree import Folder, Tree
from remit.v1 import policy_service_pb2, policy_service_pb2_grpc
from tests.tools.faults.postgresql import NoDatabaseError, OwnServer

_NODES: Final = 3
_SMALL: Final = "edited"
_SMALL_ROWS: Final = 1_000
_LARGE: Final = {10_000: 2.0, 100_000: 5.0}
"""Rows of a tenant, and the aim in seconds."""
_SERVED_S: Final = 120.0
_IDLE_NODES: Final = 10
_IDLE_S: Final = 20.0
_FLEET: Final = 100
"""The nodes that the cost of idle ones is told for."""
_MOST_READS: Final = 150
_MOST_CORE: Final = 0.03
_AWAY_S: Final = 15.0
_EVERY_S: Final = 1.0
_LEAST_RATE: Final = 0.95
_MOST_BYTES: Final = 2**30


class Policies:
    """Policy files of which one tenant has other bindings in each release."""

    def __init__(self, files: Mapping[str, bytes], tenant: str) -> None:
        self.tenant = Tenant(tenant)
        self._files = dict(files)
        self._bindings = files[f"{tenant}/bindings.csv"]
        self._edits = 0

    @classmethod
    def small(cls) -> Self:
        """The example of the other benches, and a tenant that is edited."""
        grants = f"p, role:bench, {_SMALL}, **, FLOW, VIEW, allow\n"
        grants += "".join(f"g, user:u{number}, role:bench, {_SMALL}\n" for number in range(_SMALL_ROWS - 1))
        found = (path for path in (BENCH / "example").rglob("*") if path.is_file())
        files = {path.relative_to(BENCH / "example").as_posix(): path.read_bytes() for path in found}
        return cls({**files, f"{_SMALL}/bindings.csv": grants.encode()}, _SMALL)

    @classmethod
    def large(cls, rows: int) -> Self:
        return cls({path: text.encode() for path, text in worlds.make(rows).files().items()}, worlds.TENANT)

    def edited(self) -> Tree:
        self._edits += 1
        self._files[f"{self.tenant}/bindings.csv"] = self._bindings + f"# {self._edits}\n".encode()
        folders: dict[str, dict[str, bytes]] = {"": {}}
        for path, content in self._files.items():
            folders.setdefault(path.partition("/")[0] if "/" in path else "", {})[path] = content
        return Tree(Folder("", folders.pop("")), {Tenant(name): Folder(name, files) for name, files in folders.items()})


class Publisher:
    def __init__(self, url: str, policies: Policies) -> None:
        self._store = PolicyStore(url, timeout_s=_SERVED_S)
        self._store.migrate()
        self._policies = policies
        self._seq = 0

    def publish(self) -> tuple[str, float]:
        """The revision of the edited tenant, and when `publish` returned."""
        tree = self._policies.edited()
        self._store.publish(Draft(tree, "bench"), self._seq)
        returned = time.perf_counter()
        self._seq += 1
        return tree.revision(self._policies.tenant), returned

    def close(self) -> None:
        self._store.close()


class Node(Server):
    def __init__(self, name: str, url: str, core: int | str, scratch: Path) -> None:
        folder = scratch / name
        folder.mkdir()
        port = servers.free_port()
        command = [str(REMIT), "serve", "--policy-store", url, "--releases", str(folder / "releases")]
        command += ["--node", name, "--listen", f"127.0.0.1:{port}", "--metrics", "", "--http", ""]
        command += ["--audit", f"sqlite:///{folder / 'audit.db'}", "--revisions", str(folder / "revisions")]
        super().__init__(name, command, port=port, core=core, scratch=scratch)


class Watch:
    """Notes when a node serves each revision and each position of a tenant."""

    def __init__(self, node: Server, tenant: Tenant, served_s: float = _SERVED_S) -> None:
        self._served_s = served_s
        self._channel = grpc.insecure_channel(node.target)
        stub = policy_service_pb2_grpc.PolicyServiceStub(self._channel)
        self._changes = stub.WatchRevision(policy_service_pb2.WatchRevisionRequest(tenant=tenant))
        self._served: dict[str, float] = {}
        self._heard = Condition()
        self._thread = Thread(target=self._follow)
        self._thread.start()

    def served(self, revision: str) -> float:
        """Raises VoidFigureError if it is not served in time."""
        with self._heard:
            if not self._heard.wait_for(lambda: revision in self._served, self._served_s):
                raise VoidFigureError(f"a node does not serve a release after {self._served_s:g} s")
            return self._served[revision]

    def close(self) -> None:
        self._changes.cancel()
        self._thread.join()
        self._channel.close()

    def _follow(self) -> None:
        try:
            for change in self._changes:
                with self._heard:
                    now = time.perf_counter()
                    self._served[change.revision] = self._served[change.position] = now
                    self._heard.notify_all()
        except grpc.RpcError:
            return


class Fleet:
    def __init__(self, publisher: Publisher, watches: Sequence[Watch]) -> None:
        self._publisher = publisher
        self._watches = watches

    def release(self) -> float:
        """Seconds from the return of `publish` until all nodes serve the release."""
        revision, returned = self._publisher.publish()
        return max(0.0, *(watch.served(revision) - returned for watch in self._watches))

    def rounds(self, rounds: int) -> list[float]:
        """Releases at random times: what comes round regularly must not meet them."""
        found = []
        for number in range(rounds + 1):
            time.sleep(random.uniform(0.5, 1.5))
            taken = self.release()
            if number:  # the first one also starts the processes that load
                found.append(taken)
        return found


@contextmanager
def serving(url: str, policies: Policies, scratch: Path) -> Iterator[Fleet]:
    """Three nodes on all usable cores."""
    cores = ",".join(map(str, machine.usable_cores()))
    with ExitStack() as stack:
        publisher = Publisher(url, policies)
        stack.callback(publisher.close)
        revision, _ = publisher.publish()
        scratch.mkdir()
        nodes = [stack.enter_context(Node(f"node-{number}", url, cores, scratch)) for number in range(_NODES)]
        watches = [Watch(node, policies.tenant) for node in nodes]
        for watch in watches:
            stack.callback(watch.close)
            watch.served(revision)
        yield Fleet(publisher, watches)


def without_notifications() -> Any:
    """Publishes without telling anybody: nodes find a release by polling alone."""
    return patch("remit.fleet.store.notify")


def new_database(server: OwnServer, name: str) -> str:
    engine = create_engine(server.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return make_url(server.url).set(database=name).render_as_string(hide_password=False)


def idle(server: OwnServer, scratch: Path) -> tuple[float, float]:
    """What some nodes without news cost the store, by node: reads a second, and share of a core."""
    url = new_database(server, "idle")
    publisher = Publisher(url, Policies.small())
    publisher.publish()
    publisher.close()
    reads = 0

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        nonlocal reads
        reads += statement.startswith("SELECT")

    with ExitStack() as stack:
        for number in range(_IDLE_NODES):
            store = PolicyStore(url)
            stack.callback(store.close)
            journal = ReleaseJournal(scratch / f"idle-{number}")
            journal.begin()
            stack.callback(journal.end)
            puller = Puller(
                store, journal, node=f"idle-{number}", version="0", trust=Trust(), poll_s=1.0, most_bytes=_MOST_BYTES
            )
            puller.first()
            event.listen(store.engine, "before_cursor_execute", count)
            puller.begin(tuple)
            stack.callback(puller.stop, _AWAY_S)
        time.sleep(_IDLE_S / 4)
        before, reads = _processor_s(server), 0
        time.sleep(_IDLE_S)
        asked, taken = reads, _processor_s(server) - before
    return asked / _IDLE_S / _IDLE_NODES, taken / _IDLE_S / _IDLE_NODES


def _processor_s(server: OwnServer) -> float:
    return float(sum(sum(process.cpu_times()[:2]) for process in server.processes()))


@contextmanager
def released(publisher: Publisher) -> Iterator[None]:
    """Publishes every second as long as the block runs."""
    stop = Event()

    def publish() -> None:
        while not stop.is_set():
            publisher.publish()
            stop.wait(_EVERY_S)

    thread = Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def rates(url: str, scratch: Path, rounds: int, seconds: float, cores: tuple[int, int]) -> list[tuple[Run, Run]]:
    """BatchCheck of 50 without and with a release of another tenant every second, in turn."""
    policies = Policies.small()
    publisher = Publisher(url, policies)
    revision, _ = publisher.publish()
    call, load = example.remit_batch(), Load(8, 8)
    scratch.mkdir()
    body = scratch / "body.bin"
    body.write_bytes(h2load.frame(call.message))
    found = []
    with Node("node-1", url, cores[0], scratch) as node:
        watch = Watch(node, policies.tenant)
        watch.served(revision)

        def ask(calls: int) -> Run:
            answer_bytes = call.ask(node.target)
            path = f"http://{node.target}{call.method}"
            return h2load.run(
                core=cores[1],
                url=path,
                body=body,
                load=load,
                calls=calls,
                answer_bytes=answer_bytes,
                scratch=scratch,
            )

        calls = max(200, int(ask(max(200, int(ask(200).rate))).rate * seconds))
        for number in range(rounds):
            pair = {}
            for releasing in (False, True) if number % 2 else (True, False):
                with released(publisher) if releasing else nullcontext():
                    pair[releasing] = ask(calls)
            found.append((pair[False], pair[True]))
        revision, _ = publisher.publish()
        watch.served(revision)
        watch.close()
    publisher.close()
    return found


def p99(taken: Sequence[float]) -> float:
    return sorted(taken)[min(len(taken) - 1, len(taken) * 99 // 100)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60, help="releases of the small tenant, each way")
    parser.add_argument("--large-rounds", type=int, default=5, help="releases of each large tenant; stays of the store")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a round of batches")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))

    def measure(server_core: int, load_core: int) -> None:
        try:
            server = OwnServer()
        except NoDatabaseError as error:
            print(f"skipped: {error}")
            return
        with server, servers.scratch("fleet") as scratch:
            # First: PostgreSQL tidies up after large releases.
            reads, core = idle(server, scratch)
            taken: dict[str, list[float]] = {}
            with serving(new_database(server, "small"), Policies.small(), scratch / "small") as fleet:
                taken["notified"] = fleet.rounds(arguments.rounds)
                with without_notifications():
                    taken["polling"] = fleet.rounds(arguments.rounds)
                taken["after a store that was away"] = []
                for _ in range(arguments.large_rounds):
                    server.take_away()
                    time.sleep(_AWAY_S)
                    server.bring_back()
                    taken["after a store that was away"].append(fleet.release())
            for rows in _LARGE:
                with serving(new_database(server, f"rows_{rows}"), Policies.large(rows), scratch / str(rows)) as fleet:
                    taken[f"{rows:,} rows"] = fleet.rounds(arguments.large_rounds)
            url = new_database(server, "rates")
            cores = server_core, load_core
            pairs = rates(url, scratch / "rates", arguments.large_rounds, arguments.seconds, cores)
        show(taken, reads * _FLEET, core * _FLEET, pairs)
        path = servers.CACHE / f"fleet-{time.strftime('%Y%m%dT%H%M%S')}.json"
        told = {"machine": machine.describe(), "served_s": taken, "idle_reads": reads, "idle_core": core}
        path.write_text(json.dumps({**told, "rates": [[run.rate for run in pair] for pair in pairs]}, indent=1))
        print(f"each round: {path.relative_to(servers.BENCH.parent)}")

    return h2load.run_bench(measure)


def show(taken: Mapping[str, Sequence[float]], reads: float, core: float, pairs: Sequence[tuple[Run, Run]]) -> None:
    rows = [
        [title, *(f"{each:.2f}" for each in (statistics.median(each), p99(each), max(each)))]
        for title, each in taken.items()
    ]
    print(f"a small tenant has {_SMALL_ROWS:,} rows; batches of {example.BATCH}, {len(pairs)} rounds")
    table.show([f"from publish until {_NODES} nodes serve, s", "median", "p99", "max"], rows)
    ratios = sorted(releasing.rate / still.rate for still, releasing in pairs)
    ratio = statistics.median(ratios)
    span = f"{ratios[0]:.2f} - {ratios[-1]:.2f}"
    figures = [
        ("small tenant, by polling alone, p99", "<= 1.5 s", p99(taken["polling"]), p99(taken["polling"]) <= 1.5),
        *(
            (f"{rows:,} rows, median", f"<= {most:g} s", found, found <= most)
            for rows, most in _LARGE.items()
            for found in [statistics.median(taken[f"{rows:,} rows"])]
        ),
        (f"reads a second of {_FLEET} idle nodes", f"<= {_MOST_READS}", reads, reads <= _MOST_READS),
        (f"core of the store that {_FLEET} idle nodes take", f"< {_MOST_CORE:.0%}", core, core < _MOST_CORE),
        (f"batches with a release a second by without ({span})", f">= {_LEAST_RATE}", ratio, ratio >= _LEAST_RATE),
    ]
    table.show(
        ["target", "", "measured", ""],
        [[title, aim, f"{found:.2f}", table.target(reached)] for title, aim, found, reached in figures],
    )


if __name__ == "__main__":
    sys.exit(main())
