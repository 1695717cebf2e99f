"""Memory of a server that is asked about names that do not exist. See bench/README.md for the method."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Final

import grpc

from bench import machine, servers, table
from bench.h2load import VoidFigureError
from bench.servers import BENCH, CACHE, REMIT, Server, free_port
from remit.v1 import access_service_pb2, access_service_pb2_grpc

QUESTIONS: Final = 1_000_000
TARGET_MIB: Final = 1.0
"""Per million questions."""
_BATCH: Final = 1_000
_IN_FLIGHT: Final = 4
_SETTLED: Final = 1_000_000
"""Questions before the first measurement, but not more than after it: caches fill, and pools grow."""
_STEPS: Final = 10


class Remit(Server):
    """`remit serve` that answers before the record: the disk is not what is measured."""

    def __init__(self, core: int, scratch: Path) -> None:
        port = free_port()
        command = [str(REMIT), "serve", "--policies", str(BENCH / "example"), "--listen", f"127.0.0.1:{port}"]
        command += ["--audit", f"sqlite:///{scratch / 'audit.db'}", "--audit-delivery", "after_answer"]
        command += [
            "--revisions",
            str(scratch / "revisions"),
            "--metrics",
            "",
            "--http",
            "",
            "--batch-limit",
            str(_BATCH),
        ]
        command += ["--audit-wait-s", "50", "--call-timeout-s", "60"]
        super().__init__("remit", command, port=port, core=core, scratch=scratch)

    def rss_mib(self) -> float:
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024


def batch(number: int) -> access_service_pb2.BatchCheckRequest:
    """Questions of which no name was asked before. Every other batch is about a tenant that does not exist."""
    first = number * _BATCH
    questions = [
        access_service_pb2.Question(
            principal=f"user:u{each}", action=f"ACT{each}", kind=f"KIND{each}", namespace=f"n{each}.m{each}"
        )
        if each % 2
        else access_service_pb2.Question(
            principal=f"user:u{each}", action="VIEW", kind="FLOW", namespace=f"acme.finance.n{each}"
        )
        for each in range(first, first + _BATCH)
    ]
    return access_service_pb2.BatchCheckRequest(tenant=f"t{number}" if number % 2 else "acme", questions=questions)


def ask(channel: grpc.Channel, numbers: range) -> None:
    """Raises VoidFigureError if a batch is not answered in full."""
    access = access_service_pb2_grpc.AccessServiceStub(channel)
    waiting = []
    for number in numbers:
        waiting.append(access.BatchCheck.future(batch(number), timeout=60))
        if len(waiting) >= _IN_FLIGHT or number == numbers[-1]:
            for each in waiting:
                try:
                    results = each.result().results
                except grpc.RpcError as error:
                    raise VoidFigureError(f"a batch was not answered: {error}") from error
                if len(results) != _BATCH:
                    raise VoidFigureError(f"{len(results)} answers to {_BATCH} questions")
            waiting = []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=QUESTIONS)
    questions = parser.parse_args().questions
    print(f"machine: {machine.describe()}\n")
    batches = max(questions // _BATCH, _STEPS)
    settled = min(_SETTLED // _BATCH, batches)
    server_core, _ = machine.cores()
    began = time.monotonic()
    try:
        with servers.scratch("names") as scratch, Remit(server_core, scratch) as server:
            with grpc.insecure_channel(server.target) as channel:
                start = server.rss_mib()
                ask(channel, range(settled))
                sizes = [server.rss_mib()]
                for step in range(_STEPS):
                    ask(channel, range(settled + batches * step // _STEPS, settled + batches * (step + 1) // _STEPS))
                    sizes.append(server.rss_mib())
            size = (scratch / "audit.db").stat().st_size / 1024**2
    except VoidFigureError as error:
        print(f"void: {error}", file=sys.stderr)
        return 1
    per_million = (sizes[-1] - sizes[0]) / (batches * _BATCH) * 1e6
    missed = "reached" if per_million <= TARGET_MIB else f"missed by {per_million - TARGET_MIB:.1f} MiB"
    print(
        f"{batches * _BATCH:,} questions about names that do not exist, after {settled * _BATCH:,} more of them; "
        f"{time.monotonic() - began:.0f} s, audit file {size:,.0f} MiB\n"
    )
    table.show(
        ["resident", "at the start", "before", "after", "MiB per million", f"<= {TARGET_MIB:g}"],
        [["remit", f"{start:.1f} MiB", f"{sizes[0]:.1f} MiB", f"{sizes[-1]:.1f} MiB", f"{per_million:.2f}", missed]],
    )
    print("on the way:", ", ".join(f"{each:.1f}" for each in sizes))
    path = CACHE / f"names-{time.strftime('%Y%m%dT%H%M%S')}.json"
    path.write_text(json.dumps({"machine": machine.describe(), "questions": questions, "mib": sizes}, indent=1))
    print(f"raw figures: {path.relative_to(CACHE.parent.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
