"""AuthZEN beside gRPC and beside Cerbos' AuthZEN, 64 in flight, one core each for server and load, in interleaved rounds.

remit writes a record of each decision before the answer; Cerbos' audit is off. Both answer the example's question.
"""

import argparse
import json
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from bench import example, h2load, servers, table
from bench.h2load import Load, VoidFigureError
from bench.ways import Way, measure, over_grpc, over_http

_LOAD: Final = Load(8, 8)
_JSON: Final = "application/json"
_GRPC, _REMIT, _CERBOS = "remit, gRPC", "remit, AuthZEN", "Cerbos, AuthZEN"
_AIMS: Final = {1: {_GRPC: 1.5, _CERBOS: 3.0}, example.BATCH: {_GRPC: 1.0, _CERBOS: 4.0}}
"""By decisions in a call: how many times as many calls as the other way."""


def body(decisions: int, *, roles: bool) -> bytes:
    """The example's question as AuthZEN. `roles`: Cerbos keeps no memberships, so the request brings them."""
    subject: dict[str, Any] = {"type": "user", "id": "bob"}
    if roles:
        subject["properties"] = {"cerbos.roles": ["finance-devs", "staff"]}

    def resource(number: int) -> dict[str, Any]:
        namespace = "acme.finance.payroll" if decisions == 1 else f"acme.finance.team-{number}"
        return {"type": "FLOW", "id": f"flow-{number}", "properties": {"namespace": namespace}}

    asked = {"subject": subject, "action": {"name": "VIEW"}}
    if decisions == 1:
        return json.dumps({**asked, "resource": resource(0)}).encode()
    return json.dumps({**asked, "evaluations": [{"resource": resource(each)} for each in range(decisions)]}).encode()


def authzen(  # noqa: PLR0917 (a row of the table below)
    name: str, server: servers.Server, prefix: str, decisions: int, core: int, scratch: Path
) -> Way:
    path = f"{prefix}/access/v1/evaluation{'' if decisions == 1 else 's'}"
    sent = body(decisions, roles=name == _CERBOS)
    answer = servers.posted(server.http, path, sent, _JSON)
    allows = answer.replace(b" ", b"").count(b'"decision":true')
    if allows != decisions:
        raise VoidFigureError(f"{name}{path}: expected {decisions} allows, got {allows}: {answer[:200]!r}")
    return over_http(name, server, path, sent, _JSON, len(answer), _LOAD, core, scratch)


def show(measured: list[Way], decisions: int) -> None:
    mine = next(way for way in measured if way.name == _REMIT)
    what = "one decision a call" if decisions == 1 else f"{decisions} decisions a call"
    rows = [
        [
            way.name,
            f"{statistics.median(run.rate for run in way.runs):,.0f}",
            f"{statistics.median(run.rate for run in way.runs) * decisions:,.0f}",
            f"{statistics.median(way.cpu_us):,.0f}",
            f"{statistics.median(run.median_us for run in way.runs):,.0f}",
            f"{statistics.median(run.p99_us for run in way.runs):,.0f}",
        ]
        for way in measured
    ]
    table.show([what, "calls/s", "decisions/s", "CPU us a call", "p50 us", "p99 us"], rows)
    aims = []
    for way in measured:
        aim = _AIMS[decisions].get(way.name)
        if aim is not None:
            ratios = sorted(one.rate / other.rate for one, other in zip(mine.runs, way.runs, strict=True))
            ratio = statistics.median(ratios)
            shown = f"{ratio:.2f} ({ratios[0]:.2f} - {ratios[-1]:.2f})"
            aims.append([f"{_REMIT}, of {way.name}", f"{aim:.2f}", shown, table.target(ratio >= aim)])
    table.show(["target", "at least", "measured", ""], aims)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--calls",
        type=int,
        default=10_000,
        help="in a round of each way; a twentieth, but at least 320, with 50 decisions",
    )
    arguments = parser.parse_args()

    def measured(server_core: int, load_core: int) -> None:
        with servers.scratch("authzen") as folder, ExitStack() as stack:
            remit = stack.enter_context(servers.Remit("before_answer", server_core, folder, "--authzen", http=True))
            peers: list[servers.Server] = []
            if servers.CERBOS.exists():
                peers.append(stack.enter_context(servers.cerbos(server_core, folder)))
            else:
                print("no Cerbos: run bench/install\n")
            for decisions, calls in ((1, arguments.calls), (example.BATCH, max(arguments.calls // 20, 320))):
                call = example.remit_check() if decisions == 1 else example.remit_batch()
                compared = [
                    over_grpc(_GRPC, remit, call, _LOAD, load_core, folder),
                    authzen(_REMIT, remit, "/tenants/acme", decisions, load_core, folder),
                    *(authzen(_CERBOS, peer, "", decisions, load_core, folder) for peer in peers),
                ]
                for each in compared:
                    each.run(max(calls // 5, 64))
                measure(compared, arguments.rounds, calls, decisions)
                show(compared, decisions)

    return h2load.run_bench(measured)


if __name__ == "__main__":
    sys.exit(main())
