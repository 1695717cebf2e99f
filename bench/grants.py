"""What a grant at run time takes: until it is durable, until three nodes serve it, and what ten a second cost decisions.
See bench/README.md."""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread

from bench import machine, table
from bench.fleet import Node, Watch, p99
from bench.imports import published, rows
from bench.servers import scratch
from remit.client import Asked, Client, RuntimeBinding
from remit.core.names import Tenant
from tests.tools.faults.postgresql import OwnServer

_ACME = Tenant("acme")
_NODES = 3
_ROWS = 100_000
_A_SECOND = 10.0
_AIMS = {
    "ChangeBindings, median, ms": 8.0,
    "ChangeBindings, p99, ms": 30.0,
    "from its answer until all nodes serve it, median, ms": 50.0,
    "from its answer until all nodes serve it, p99, ms": 250.0,
}
_LEAST_SHARE = 0.95
_LEAST_CALLS = 100.0


def changed(client: Client, number: int) -> str:
    """The position from which on a change serves that grants one row or takes it back."""
    row = RuntimeBinding(f"user:b{number // 2:06}", "role:viewer", "a.bench.**")
    grants, revokes = ([row], []) if number % 2 == 0 else ([], [row])
    return client.tenant("acme").change_bindings(grants, revokes=revokes, granter="user:alice").position


def one_by_one(client: Client, watches: list[Watch], rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds of each call, and from its answer until the last node serves the change."""
    calls, effects = [], []
    for number in range(rounds):
        time.sleep(0.05)
        began = time.perf_counter()
        position = changed(client, number)
        answered = time.perf_counter()
        calls.append((answered - began) * 1e3)
        effects.append(max(0.0, *(watch.served(position) - answered for watch in watches)) * 1e3)
    return calls, effects


def sustained(client: Client, rounds: int) -> float:
    """Changes a second of four callers at once, on one node."""
    with ThreadPoolExecutor(4) as pool:
        began = time.perf_counter()
        positions = list(pool.map(lambda number: changed(client, 1_000_000 + 2 * number), range(rounds)))
        took = time.perf_counter() - began
    assert all(positions)
    return rounds / took


@contextmanager
def changing(client: Client) -> Iterator[None]:
    """Ten changes a second as long as the block runs."""
    stop = Event()

    def change() -> None:
        number = 2_000_000
        while not stop.wait(1 / _A_SECOND):
            changed(client, number)
            number += 1

    thread = Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def batches(client: Client, seconds: float) -> float:
    """Batches of 50 questions a second, of one caller."""
    asked = [Asked(f"user:u{number:07}@example.com", "VIEW", "FLOW", f"a.n{number}.x") for number in range(50)]
    until, count = time.perf_counter() + seconds, 0
    while time.perf_counter() < until:
        client.tenant("acme").batch_check(asked)
        count += 1
    return count / seconds


def measure(url: str, folder: Path, count: int, rounds: int) -> dict[str, float]:
    published(url)
    cores = ",".join(map(str, machine.usable_cores()))
    with ExitStack() as stack:
        nodes = [stack.enter_context(Node(f"node-{number}", url, cores, folder)) for number in range(_NODES)]
        client = stack.enter_context(Client(nodes[0].target, timeout_s=600))
        done = client.tenant("acme").import_bindings(rows(count), granter="user:alice", reason="bench")
        watches = [Watch(node, _ACME) for node in nodes]
        for watch in watches:
            stack.callback(watch.close)
            watch.served(done.position)
        one_by_one(client, watches, 10)
        calls, effects = one_by_one(client, watches, rounds)
        rate = sustained(client, rounds)
        shares = []
        for _ in range(5):
            still = batches(client, 3.0)
            with changing(client):
                shares.append(batches(client, 3.0) / still)
    values = [statistics.median(calls), p99(calls), statistics.median(effects), p99(effects)]
    return {**dict(zip(_AIMS, values, strict=True)), "changes a second": rate, "share": statistics.median(shares)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=_ROWS, help="rows of run time that there are already")
    parser.add_argument("--rounds", type=int, default=200, help="changes, one after another")
    options = parser.parse_args()
    with scratch("grants") as made, OwnServer() as server:
        found = measure(server.url, made, options.rows, options.rounds)
    lines = [(name, found[name], f"<= {aim:g}", found[name] <= aim) for name, aim in _AIMS.items()]
    rate, share = found["changes a second"], found["share"]
    lines += [
        ("changes a second of four callers, of one tenant", rate, f">= {_LEAST_CALLS:g}", rate >= _LEAST_CALLS),
        ("batches with ten changes a second by without", share, f">= {_LEAST_SHARE:g}", share >= _LEAST_SHARE),
    ]
    cells = [(name, f"{value:.2f}", aim, table.target(reached)) for name, value, aim, reached in lines]
    table.show((f"{options.rows:,} rows, {_NODES} nodes", "measured", "target", ""), cells)
    return 0


if __name__ == "__main__":
    sys.exit(main())
