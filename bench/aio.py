"""remit's own adapter to grpcio beside `grpc.aio` with the same group commit, in interleaved rounds of one run."""

import argparse
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench import h2load, servers, service, table

AIO: Final = "grpc.aio"


class Aio(servers.Remit):
    """`bench.aio_server`, over the same policies and an audit store of its own."""

    def __init__(self, core: int, scratch: Path) -> None:
        port = servers.free_port()
        self._store = scratch / "aio.db"
        command = [sys.executable, "-m", "bench.aio_server", "--listen", f"127.0.0.1:{port}"]
        command += ["--policies", str(servers.BENCH / "example"), "--audit", f"sqlite:///{self._store}"]
        servers.Server.__init__(self, AIO, command, port=port, core=core, scratch=scratch)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="length of a round, 1 for about 2 s")
    arguments = parser.parse_args()

    def measure(server_core: int, load_core: int) -> None:
        with servers.scratch("aio") as folder, ExitStack() as stack:
            ours = stack.enter_context(servers.Remit("before_answer", server_core, folder))
            theirs = stack.enter_context(Aio(server_core, folder))
            bench = service.Bench([ours, theirs], load_core, folder)
            rows = []
            for figure in service.figures(arguments.scale)[:3]:
                series = bench.measure(
                    service.Figure(figure.title, figure.load, figure.batch, arguments.rounds, figure.seconds)
                )
                rates = [series[each.name].rates() for each in (ours, theirs)]
                ratios = sorted(aio / own for own, aio in zip(*rates, strict=True))
                medians = [f"{statistics.median(rate):,.0f}" for rate in rates]
                rows.append(
                    [figure.title, *medians, f"{statistics.median(ratios):.2f}", f"{ratios[0]:.2f} - {ratios[-1]:.2f}"]
                )
            table.show(["decisions a second, one core", "remit", AIO, "aio by remit", "min - max"], rows)

    return h2load.run_bench(measure)


if __name__ == "__main__":
    sys.exit(main())
