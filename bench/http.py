"""Check over HTTP beside Check over gRPC, 64 in flight, one core each for server and load, in interleaved rounds.

Also gRPC with HTTP switched on and idle, beside gRPC without: two servers over the same policies.
"""

import argparse
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from google.protobuf.json_format import MessageToJson

from bench import example, h2load, servers, table
from bench.h2load import Load
from bench.ways import Way, measure, over_grpc, over_http
from remit.v1 import access_service_pb2 as access

_LOAD: Final = Load(8, 8)
_AIM: Final = 1.3
_ALONE, _GRPC, _PROTO, _JSON = "gRPC, no HTTP", "gRPC, HTTP idle", "Connect, protobuf", "Connect, JSON"


def ways(alone: servers.Remit, both: servers.Remit, core: int, scratch: Path) -> list[Way]:
    call = example.remit_check()
    in_json = MessageToJson(access.CheckRequest.FromString(call.message)).encode()
    json_bytes = len(servers.posted(both.http, call.method, in_json, "application/json"))
    shape = (_LOAD, core, scratch)
    return [
        over_grpc(_ALONE, alone, call, *shape),
        over_grpc(_GRPC, both, call, *shape),
        over_http(_PROTO, both, call.method, call.message, "application/proto", call.ask(both.target), *shape),
        over_http(_JSON, both, call.method, in_json, "application/json", json_bytes, *shape),
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

    def measured(server_core: int, load_core: int) -> None:
        with servers.scratch("http") as folder, ExitStack() as stack:
            alone = stack.enter_context(servers.Remit("before_answer", server_core, folder, name="alone"))
            both = stack.enter_context(servers.Remit("before_answer", server_core, folder, name="both", http=True))
            compared = ways(alone, both, load_core, folder)
            for each in compared:
                each.run(2_000)
            measure(compared, arguments.rounds, arguments.calls)
            show(compared)

    return h2load.run_bench(measured)


if __name__ == "__main__":
    sys.exit(main())
