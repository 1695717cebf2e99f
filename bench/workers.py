"""Decisions a second by one, two and three workers on one port. See bench/README.md for the method."""

import sqlite3
import statistics
import sys
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path

from sqlalchemy import make_url

from bench import example, h2load, machine, servers, table
from bench.h2load import Load, VoidFigureError
from bench.servers import BENCH, REMIT, Server, free_port
from bench.service import Bench, Figure, Series
from remit.audit.store.shards import ShardedStore, stores_of

WORKERS = (1, 2, 3)
CORES_NEEDED = 3
_NEARLY = 0.9
"""A core is free of which others leave this share."""
_ASKED = 200


class Workers(Server):
    """`remit serve --workers N`."""

    def __init__(self, count: int, cores: list[int], scratch: Path) -> None:
        folder = scratch / f"workers-{count}"
        folder.mkdir()
        self.audit = f"sqlite:///{folder / 'audit.db'}"
        port = free_port()
        command = [str(REMIT), "serve", "--policies", str(BENCH / "example"), "--listen", f"127.0.0.1:{port}"]
        command += ["--audit", self.audit, "--revisions", str(folder / "revisions")]
        command += ["--metrics", "", "--http", "", "--workers", str(count)]
        name = f"{count} worker{'s' if count > 1 else ''}"
        super().__init__(name, command, port=port, core=",".join(map(str, cores)), scratch=scratch)

    def records(self) -> int:
        files = [make_url(store.url).database for store in stores_of(self.audit)]
        found = 0
        for file in files:
            with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as store:
                found += store.execute("SELECT count(*) FROM decisions").fetchone()[0]
        return found


def measure(cores: list[int], scratch: Path, scale: float) -> None:
    """All but the last core for the workers, the last for the load."""
    figures = [
        Figure("Check", Load(24, 4), batch=False, rounds=5, seconds=2 * scale),
        Figure("BatchCheck of 50", Load(24, 1), batch=True, rounds=5, seconds=2 * scale),
    ]
    with ExitStack() as stack:
        running = [stack.enter_context(Workers(count, cores[:-1], scratch)) for count in WORKERS]
        bench = Bench([*running], cores[-1], scratch)
        for figure in figures:
            show(figure, bench.measure(figure))


def show(figure: Figure, series: dict[str, Series]) -> None:
    print(
        f"{figure.title}: {figure.load.connections} connections x {figure.load.streams} streams, {figure.rounds} rounds"
    )
    (alone, *_) = series.values()
    rows = []
    for name, one in series.items():
        rates = one.rates()
        gains = [mine / its for mine, its in zip(rates, alone.rates(), strict=True)]
        span = f"{min(rates):,.0f} - {max(rates):,.0f}"
        rows.append([name, f"{statistics.median(rates):,.0f}", span, f"{statistics.median(gains):.2f}"])
    table.show(["server", "decisions/s", "min - max", "of one worker"], rows)


def try_out(cores: list[int], scratch: Path) -> None:
    """Two workers answer and record, each its share of the connections."""
    call = example.remit_check()
    with Workers(2, cores, scratch) as server:
        for _ in range(_ASKED):
            call.ask(server.target)
        with ShardedStore(server.audit).open() as stores:
            by_node = Counter(record.node for record in stores.all_decisions())
    if by_node.total() != _ASKED or len(by_node) != 2:
        raise VoidFigureError(f"expected {_ASKED} records of two workers, found {by_node}")
    shares = ", ".join(f"{node} {count}" for node, count in sorted(by_node.items()))
    print(f"tried out instead: {_ASKED} connections asked two workers, each was answered and recorded: {shares}")


def main() -> int:
    scale = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    cores = machine.usable_cores()
    try:
        with servers.scratch("workers") as scratch:
            print(f"machine: {machine.describe()}")
            free = len(cores) * (1 - machine.busy())
            enough = free >= CORES_NEEDED * _NEARLY
            if enough and h2load.installed():
                measure(cores, scratch, scale)
                return 0
            why = "no h2load; run bench/install" if enough else f"{free:.1f} of {len(cores)} cores are free"
            print(f"not measured: {why}; how workers scale shows where {CORES_NEEDED} cores or more are free\n")
            try_out(cores, scratch)
    except VoidFigureError as error:
        print(f"void: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
