"""Check over HTTP beside Check over gRPC, 64 in flight, one core each for server and load, in interleaved rounds.

Also gRPC with HTTP switched on and idle, beside gRPC without: two servers over the same policies.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from google.protobuf.json_format import MessageToJson

from bench import example, h2load, machine, servers, table
from bench.h2load import Load, Run, VoidFigureError
from remit.v1 import access_service_pb2 as access

_LOAD: Final = Load(8, 8)
_AIM: Final = 1.3
_ALONE, _GRPC, _PROTO, _JSON = "gRPC, no HTTP", "gRPC, HTTP idle", "Connect, protobuf", "Connect, JSON"


@dataclass(slots=True)
class Way:
    """A way to ask one of the servers."""

    name: str
    server: servers.Server
    run: Callable[[int], Run]
    """Makes so many calls."""
    runs: list[Run] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    """Processor time of the server for each call, in microseconds: less noisy than the rate."""

    def measure(self, calls: int, decisions: int = 1) -> None:
        """Makes so many calls, each with so many decisions."""
        before, began = self.server.records(), self.server.cpu_s()
        self.runs.append(self.run(calls))
        self.cpu_us.append((self.server.cpu_s() - began) / calls * 1e6)
        if before is not None and self.server.records() != before + calls * decisions:
            raise VoidFigureError(f"{self.name}: the audit store does not hold a record for each answer")


def ways(alone: servers.Remit, both: servers.Remit, core: int, scratch: Path) -> list[Way]:
    call = example.remit_check()
    request = access.CheckRequest.FromString(call.message)

    def way(  # noqa: PLR0917 (a row of the table below)
        name: str, server: servers.Remit, content_type: str, body: bytes, target: str, answer_bytes: int
    ) -> Way:
        file = scratch / f"{name.replace(' ', '-')}.bin"
        file.write_bytes(body)

        def run(calls: int) -> Run:
            url = f"http://{target}{call.method}"
            shape: dict[str, Any] = {"core": core, "url": url, "body": file, "load": _LOAD, "calls": calls}
            shape |= {"answer_bytes": answer_bytes, "scratch": scratch}
            return h2load.post(content_type=content_type, **shape) if content_type else h2load.run(**shape)

        return Way(name, server, run)

    grpc_bytes = call.ask(both.target)
    json_bytes = len(servers.posted(both.http, call.method, MessageToJson(request).encode(), "application/json"))
    framed = h2load.frame(call.message)
    return [
        way(_ALONE, alone, "", framed, alone.target, call.ask(alone.target)),
        way(_GRPC, both, "", framed, both.target, grpc_bytes),
        way(_PROTO, both, "application/proto", call.message, both.http, grpc_bytes),
        way(_JSON, both, "application/json", MessageToJson(request).encode(), both.http, json_bytes),
    ]


def show(measured: list[Way]) -> None:
    (base,) = (way for way in measured if way.name == _GRPC)
    rows = []
    for way in measured:
        rates = [run.rate for run in way.runs]
        ratios = sorted(mine.rate / theirs.rate for mine, theirs in zip(way.runs, base.runs, strict=True))
        costs = sorted(theirs / mine for mine, theirs in zip(way.cpu_us, base.cpu_us, strict=True))
        rows.append([
            way.name,
            f"{statistics.median(rates):,.0f}",
            f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} - {ratios[-1]:.2f})",
            f"{statistics.median(way.cpu_us):,.0f}",
            f"{statistics.median(costs):.2f} ({costs[0]:.2f} - {costs[-1]:.2f})",
            f"{statistics.median(run.p99_us for run in way.runs):,.0f}",
        ])  # fmt: skip
    table.show(
        ["Check, 64 in flight", "calls/s", f"by {_GRPC}", "CPU us a call", f"calls a CPU second by {_GRPC}", "p99 us"],
        rows,
    )
    proto = next(way for way in measured if way.name == _PROTO)
    ratio = statistics.median(mine.rate / theirs.rate for mine, theirs in zip(proto.runs, base.runs, strict=True))
    table.show(
        ["target", "at least", "measured", ""],
        [["Check by Connect in protobuf, of gRPC", f"{_AIM:.2f}", f"{ratio:.2f}", table.target(ratio >= _AIM)]],
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=10_000, help="in a round of each way")
    arguments = parser.parse_args()
    if not h2load.installed():
        print("skipped: no h2load (Debian: nghttp2-client); run bench/install")
        return 0
    print(f"machine: {machine.describe()}\n{machine.quietness()}\n")
    server_core, load_core = machine.cores()
    try:
        with servers.scratch("http") as folder, ExitStack() as stack:
            alone = stack.enter_context(servers.Remit("before_answer", server_core, folder, name="alone"))
            both = stack.enter_context(servers.Remit("before_answer", server_core, folder, name="both", http=True))
            measured = ways(alone, both, load_core, folder)
            for each in measured:
                each.run(2_000)
            for number in range(arguments.rounds):
                for each in measured[::-1] if number % 2 else measured:
                    time.sleep(0.2)
                    each.measure(arguments.calls)
            show(measured)
    except VoidFigureError as error:
        print(f"void: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
