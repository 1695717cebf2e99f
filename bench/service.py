"""The service against a bare gRPC echo and against Cerbos, in interleaved rounds. See bench/README.md for the method."""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from bench import example, h2load, machine, servers, table
from bench.h2load import Load, Run, VoidFigureError
from bench.servers import Server

AUDITED = "remit before_answer"
RELAXED = "remit after_answer"
ECHO = "echo"
CERBOS = "cerbos"

_RECORDS_S = 60
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Figure:
    """One load on every server; `rounds` of about `seconds` each."""

    title: str
    load: Load
    batch: bool
    rounds: int
    seconds: float

    def call(self, server: Server) -> example.Call:
        if server.name == CERBOS:
            return example.cerbos_batch() if self.batch else example.cerbos_check()
        return example.remit_batch() if self.batch else example.remit_check()


@dataclass(slots=True)
class Series:
    """The rounds of one figure on one server."""

    decisions_per_call: int
    runs: list[Run] = field(default_factory=list)

    def rates(self) -> list[float]:
        """Decisions a second, a round each."""
        return [run.rate * self.decisions_per_call for run in self.runs]


@dataclass(frozen=True, slots=True)
class Bench:
    servers: list[Server]
    load_core: int
    scratch: Path

    def measure(self, figure: Figure) -> dict[str, Series]:
        series = {server.name: Series(figure.call(server).decisions) for server in self.servers}
        calls = {server.name: self._calls(figure, server) for server in self.servers}
        for servers_in_turn in in_turn(self.servers, figure.rounds):
            for server in servers_in_turn:
                series[server.name].runs.append(self._run(figure, server, calls[server.name]))
        return series

    def _run(self, figure: Figure, server: Server, calls: int) -> Run:
        try:
            return self._believable_run(figure, server, calls)
        except VoidFigureError as error:
            raise VoidFigureError(f"{figure.title}: {server.name}: {error}\n{server.last_words()}") from error

    def _calls(self, figure: Figure, server: Server) -> int:
        """How many calls take about `figure.seconds`, from a pilot that also warms the server."""
        pilot = 20 * figure.load.connections * figure.load.streams + 100
        for _ in range(2):
            rate = self._run(figure, server, pilot).rate
            pilot = max(pilot, int(rate * figure.seconds / 3))
        return max(pilot, int(rate * figure.seconds))

    def _believable_run(self, figure: Figure, server: Server, calls: int) -> Run:
        """One run, void unless every call was answered with an allow and, where there is an audit, recorded."""
        call = figure.call(server)
        body = self.scratch / "body.bin"
        body.write_bytes(h2load.frame(call.message))
        before = server.records()
        answer_bytes = call.ask(server.target)
        run = h2load.run(
            core=self.load_core,
            url=f"http://{server.target}{call.method}",
            body=body,
            load=figure.load,
            calls=calls,
            answer_bytes=answer_bytes,
            scratch=self.scratch,
        )
        if call.ask(server.target) != answer_bytes:
            raise VoidFigureError("the answer's length changed during the run")
        if before is not None:
            self._await_records(server, before + (calls + 2) * call.decisions)
        return run

    def _await_records(self, server: Server, expected: int) -> None:
        """Where the record precedes the answer it is there already; where it follows, it gets a minute."""
        deadline = time.monotonic() + (_RECORDS_S if server.name == RELAXED else 0)
        while (found := server.records()) != expected:
            if time.monotonic() > deadline:
                raise VoidFigureError(f"the audit store holds {found} decisions, expected {expected}")
            time.sleep(0.05)


def in_turn(items: Sequence[_Item], rounds: int) -> Iterator[Sequence[_Item]]:
    """The items of each round, every second round in the opposite order: whoever goes first may have it better."""
    for number in range(rounds):
        yield items[::-1] if number % 2 else items


def paired(series: dict[str, Series], name: str, base: str) -> float | None:
    """Median over the rounds of one server's rate by another's in the same round."""
    if name not in series or base not in series:
        return None
    return statistics.median(
        mine / theirs for mine, theirs in zip(series[name].rates(), series[base].rates(), strict=True)
    )


def show_figure(figure: Figure, series: dict[str, Series]) -> None:
    unit = "decisions/s" if figure.batch else "calls/s"
    print(
        f"{figure.title}: {figure.load.connections} connections x {figure.load.streams} streams, {figure.rounds} rounds"
    )
    rows = []
    for name, one in series.items():
        rates = one.rates()
        ratios = [paired(series, name, base) for base in (ECHO, CERBOS)]
        rows.append([
            name,
            f"{statistics.median(rates):,.0f}",
            f"{min(rates):,.0f} - {max(rates):,.0f}",
            *("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
            f"{statistics.median(run.median_us for run in one.runs):,.0f}",
            f"{statistics.median(run.p99_us for run in one.runs):,.0f}",
        ])  # fmt: skip
    table.show(["server", unit, "min - max", "of echo", "of cerbos", "median us", "p99 us"], rows)


def show_targets(check: dict[str, Series], batch: dict[str, Series]) -> None:
    rows = []
    for what, series, base, least in (
        ("Check, audited before the answer, 64 in flight, of a bare echo", check, ECHO, 0.80),
        ("Check, audited before the answer, 64 in flight, of Cerbos with its audit off", check, CERBOS, 1.0),
        ("BatchCheck of 50, audited before the answer, 64 in flight, of Cerbos with its audit off", batch, CERBOS, 3.0),
        ("  the same, the ambition", batch, CERBOS, 5.0),
    ):
        ratio = paired(series, AUDITED, base)
        found = ["-", "skipped"] if ratio is None else [f"{ratio:.2f}", table.target(ratio >= least)]
        rows.append([what, f"{least:.2f}", *found])
    if AUDITED in batch:
        rate = statistics.median(batch[AUDITED].rates())
        for what, least in (
            ("BatchCheck of 50, audited decisions a second", 60_000),
            ("  the same, the ambition", 100_000),
        ):
            rows.append([what, f"{least:,}", f"{rate:,.0f}", table.target(rate >= least)])
    table.show(["target", "at least", "measured", ""], rows)


def figures(scale: float) -> list[Figure]:
    return [
        Figure("Check, 64 in flight", Load(8, 8), batch=False, rounds=7, seconds=2 * scale),
        Figure("Check, one at a time", Load(1, 1), batch=False, rounds=5, seconds=1.5 * scale),
        Figure("BatchCheck of 50, 64 in flight", Load(8, 8), batch=True, rounds=7, seconds=2 * scale),
        Figure("BatchCheck of 50, 4 in flight", Load(2, 2), batch=True, rounds=7, seconds=2 * scale),
    ]


def keep(results: dict[str, dict[str, Series]]) -> Path:
    """Writes each round's figures to bench/.cache and returns the file's path."""
    path = servers.CACHE / f"service-{time.strftime('%Y%m%dT%H%M%S')}.json"
    raw = {
        title: {
            name: [{"decisions_per_s": rate, "median_us": run.median_us, "p99_us": run.p99_us, "calls": run.calls}
                   for rate, run in zip(one.rates(), one.runs, strict=True)]
            for name, one in series.items()
        }
        for title, series in results.items()
    }  # fmt: skip
    path.write_text(json.dumps({"machine": machine.describe(), "figures": raw}, indent=1))
    return path


def available(scratch: Path, server_core: int, threads: int, names: list[str]) -> list[Server]:
    """The servers that can run here, in the order of a round; says which cannot, and why."""
    chosen: list[Server] = []
    if ECHO in names:
        chosen.append(servers.echo(threads, server_core, scratch))
    for name, delivery in ((AUDITED, "before_answer"), (RELAXED, "after_answer")):
        if name in names:
            chosen.append(servers.Remit(delivery, server_core, scratch))
    if CERBOS in names:
        if servers.CERBOS.exists():
            chosen.append(servers.cerbos(server_core, scratch))
        else:
            print(f"skipped: {CERBOS}: no {servers.CERBOS.relative_to(servers.BENCH.parent)}; run bench/install")
    return chosen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    every = [ECHO, AUDITED, RELAXED, CERBOS]
    parser.add_argument("--server", action="append", choices=every, help="only these; all by default")
    parser.add_argument("--threads", type=int, default=64, help="of the echo server: as many as remit's")
    parser.add_argument("--scale", type=float, default=1.0, help="length of each round, 1 for about 2 s")
    arguments = parser.parse_args()

    if not h2load.installed():
        print("skipped: no h2load (Debian: nghttp2-client); run bench/install")
        return 0
    server_core, load_core = machine.cores()
    try:
        with servers.scratch("service") as scratch:
            print(f"machine: {machine.describe()}")
            if server_core == load_core:
                print(
                    "one core only: server and load generator share it, so the figures are about half of what they could be"
                )
            print(machine.quietness())
            kind = machine.file_system(scratch)
            print(f"audit on {kind}: one fdatasync of 4 KiB takes {machine.fdatasync_us(scratch):,.0f} us (median)\n")
            if kind in {"tmpfs", "ramfs"}:
                print("a durable audit cannot be measured in memory: put the checkout on a disk", file=sys.stderr)
                return 1
            results: dict[str, dict[str, Series]] = {}
            with ExitStack() as stack:
                running = available(scratch, server_core, arguments.threads, arguments.server or every)
                bench = Bench([stack.enter_context(server) for server in running], load_core, scratch)
                for figure in figures(arguments.scale):
                    results[figure.title] = bench.measure(figure)
                    show_figure(figure, results[figure.title])
            show_targets(results["Check, 64 in flight"], results["BatchCheck of 50, 64 in flight"])
            print(f"each round: {keep(results).relative_to(servers.BENCH.parent)}")
    except VoidFigureError as error:
        print(f"void: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
