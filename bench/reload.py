"""Answers while policies are reloaded, beside answers while they are not. See bench/README.md for the method."""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import grpc

from bench import example, h2load, machine, servers, table, worlds
from bench.h2load import Load, Run, VoidFigureError
from bench.servers import Server
from remit.core.names import Tenant
from remit.policy.read.limits import Limits
from remit.policy.read.tree import read_tree
from remit.v1 import policy_service_pb2, policy_service_pb2_grpc

ROWS = 10_000
MANY_ROWS = 100_000
_EVERY_S = 1.0
_LEAST_RELOADS = 0.4
"""Of those that the edits ask for; with fewer, a round did not measure reloading."""
_RELOAD_S = 120
_GRANT = ("p, role:bench, acme, **, FLOW, VIEW, allow", "g, user:bob, role:bench, acme")
_LOADS = (Load(8, 8), Load(8, 1), Load(1, 1))


class Policies:
    """A made-up tenant whose bindings are edited, as an editor does: a new file in the old one's place."""

    def __init__(self, directory: Path, rows: int) -> None:
        world = worlds.make(rows - len(_GRANT))
        world.p_rows.append(_GRANT[0])
        world.g_rows.append(_GRANT[1])
        directory.mkdir()
        world.write(directory)
        self.directory = directory
        self._file = directory / worlds.TENANT / "bindings.csv"
        self._text = self._file.read_bytes()
        self._edits = 0

    def edit(self) -> None:
        beside = self._file.with_suffix(".bak")
        beside.write_bytes(self._text + f"# {self._edits}\n".encode())
        beside.replace(self._file)
        self._edits += 1

    def revision(self) -> str:
        return read_tree(self.directory, Limits()).revision(Tenant(worlds.TENANT))


class Remit(Server):
    def __init__(self, policies: Policies, core: int, scratch: Path) -> None:
        port = servers.free_port()
        name = policies.directory.name
        command = [str(servers.REMIT), "serve", "--policies", str(policies.directory)]
        command += ["--listen", f"127.0.0.1:{port}", "--metrics", "", "--http", ""]
        command += ["--audit", f"sqlite:///{scratch / name}.db", "--revisions", str(scratch / f"{name}-revisions")]
        super().__init__(f"remit {name}", command, port=port, core=core, scratch=scratch)
        self._log = scratch / f"remit-{name}.log"

    def reloads(self) -> int:
        return self._log.read_text().count('"event": "tenant loaded"')


@contextmanager
def edited(policies: Policies) -> Iterator[None]:
    """Edits every second as long as the block runs."""
    stop = Event()

    def edit() -> None:
        while not stop.is_set():
            policies.edit()
            stop.wait(_EVERY_S)

    editor = Thread(target=edit)
    editor.start()
    try:
        yield
    finally:
        stop.set()
        editor.join()


def ask(server: Remit, load: Load, calls: int, core: int, scratch: Path) -> Run:
    call = example.remit_check()
    body = scratch / "body.bin"
    body.write_bytes(h2load.frame(call.message))
    return h2load.run(
        core=core,
        url=f"http://{server.target}{call.method}",
        body=body,
        load=load,
        calls=calls,
        answer_bytes=call.ask(server.target),
        scratch=scratch,
    )


def latencies(
    server: Remit, policies: Policies, load: Load, *, rounds: int, seconds: float, core: int, scratch: Path
) -> list[tuple[Run, Run]]:
    """Rounds without and with a reload every second, in turn."""
    # The first edit also starts the process that loads.
    reload_s(server, policies, 1)
    pilot = ask(server, load, 500, core, scratch)
    calls = int(ask(server, load, max(500, int(pilot.rate)), core, scratch).rate * seconds)
    found = []
    for _ in range(rounds):
        still = ask(server, load, calls, core, scratch)
        before = server.reloads()
        with edited(policies):
            reloading = ask(server, load, calls, core, scratch)
        reloads = server.reloads() - before
        if reloads < _LEAST_RELOADS * reloading.seconds / _EVERY_S:
            raise VoidFigureError(f"{reloads} reloads in {reloading.seconds:.1f} s: too few to measure them")
        found.append((still, reloading))
    return found


def reload_s(server: Remit, policies: Policies, times: int) -> list[float]:
    """Seconds from an edit to the answer of the new revision, the settle time included."""
    found = []
    with grpc.insecure_channel(server.target) as channel:
        stub = policy_service_pb2_grpc.PolicyServiceStub(channel)
        request = policy_service_pb2.WatchRevisionRequest(tenant=worlds.TENANT)
        changes = stub.WatchRevision(request, timeout=times * _RELOAD_S)
        for _ in range(times):
            policies.edit()
            began = time.perf_counter()
            expected = policies.revision()
            while next(changes).revision != expected:
                pass
            found.append(time.perf_counter() - began)
        changes.cancel()
    return found


def show_latencies(found: dict[str, list[tuple[Run, Run]]]) -> list[float]:
    """Prints them; the ratios of the 99th percentiles, the median of the rounds."""
    rows, ratios = [], []
    for title, pairs in found.items():
        still = [statistics.median(run.p99_us for run in runs) for runs in zip(*pairs, strict=True)]
        ratio = statistics.median(reloading.p99_us / quiet.p99_us for quiet, reloading in pairs)
        rate = statistics.median(reloading.rate / quiet.rate for quiet, reloading in pairs)
        ratios.append(ratio)
        rows.append([title, *(f"{each:,.0f}" for each in still), f"{ratio:.2f}", f"{rate:.2f}"])
    print(f"Check over {ROWS:,} rows, reloaded every {_EVERY_S:g} s or not, {len(pairs)} rounds")
    table.show(["connections x streams", "p99 us still", "p99 us reloading", "p99 ratio", "rate ratio"], rows)
    return ratios


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each round")
    arguments = parser.parse_args()

    def measure(server_core: int, load_core: int) -> None:
        with servers.scratch("reload") as scratch:
            policies = Policies(scratch / "some", ROWS)
            found = {}
            with Remit(policies, server_core, scratch) as server:
                for load in _LOADS:
                    rounds, seconds = arguments.rounds, arguments.seconds
                    found[str(load)] = latencies(
                        server, policies, load, rounds=rounds, seconds=seconds, core=load_core, scratch=scratch
                    )
                some_s = reload_s(server, policies, arguments.rounds)
            many = Policies(scratch / "many", MANY_ROWS)
            with Remit(many, server_core, scratch) as server:
                many_s = reload_s(server, many, arguments.rounds)
            ratios = show_latencies(found)
            rows = [
                [f"{rows:,} rows", f"{statistics.median(taken):.2f}", f"{min(taken):.2f} - {max(taken):.2f}"]
                for rows, taken in ((ROWS, some_s), (MANY_ROWS, many_s))
            ]
            table.show(["from an edit to the first answer by it", "s (median)", "min - max"], rows)
            rows = [
                [f"p99 while reloading by p99 without, {title}", "<= 2", f"{ratio:.2f}", table.target(ratio <= 2)]
                for title, ratio in zip(found, ratios, strict=True)
            ]
            table.show(["target", "", "measured", ""], rows)
            path = servers.CACHE / f"reload-{time.strftime('%Y%m%dT%H%M%S')}.json"
            raw = {title: [[run.p99_us for run in pair] for pair in pairs] for title, pairs in found.items()}
            told = {"machine": machine.describe(), "p99_us": raw, "reload_s": {ROWS: some_s, MANY_ROWS: many_s}}
            path.write_text(json.dumps(told, indent=1))
            print(f"each round: {path.relative_to(servers.BENCH.parent)}")

    return h2load.run_bench(measure)


if __name__ == "__main__":
    sys.exit(main())
