"""How long a short command takes from its start to its end. See bench/README.md for the method."""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from statistics import median
from typing import Final, NamedTuple

from bench import machine, table
from bench.servers import BENCH, CACHE, REMIT

ROOT: Final = BENCH.parent
PYTHON: Final = sys.executable
QUESTION: Final = ("acme", "user:carol", "VIEW", "FLOW", "acme.finance", "--policies", str(ROOT / "policies"))


class Start(NamedTuple):
    name: str
    command: tuple[str, ...]
    target_ms: float | None
    environment: tuple[tuple[str, str], ...] = ()


_COMPLETED: Final = (("COMP_WORDS", "remit check --tl"), ("COMP_CWORD", "2"), ("_REMIT_COMPLETE", "complete_bash"))
STARTS: Final = (
    Start("python -c pass", (PYTHON, "-c", "pass"), None),
    Start("python -c 'import typer, rich'", (PYTHON, "-c", "import typer, rich"), None),
    Start("remit --version", (str(REMIT), "--version"), 150),
    Start("remit --help", (str(REMIT), "--help"), 150),
    Start("remit check --help", (str(REMIT), "check", "--help"), 150),
    Start("completion of `remit check --tl`", (str(REMIT),), 150, _COMPLETED),
    Start("remit check, of the example's files", (str(REMIT), "check", *QUESTION), 350),
)
"""The first two are the floor."""


class Taken(NamedTuple):
    wall_ms: float
    processor_ms: float


def run(start: Start) -> Taken:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, **dict(start.environment)}
    done = subprocess.run(start.command, stdout=subprocess.DEVNULL, env=environment, check=False)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{start.name} exits with {done.returncode}")
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Taken(1e3 * wall, 1e3 * processor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    print(machine.describe())
    print(machine.quietness())
    print()
    taken: dict[str, list[Taken]] = {each.name: [] for each in STARTS}
    for number in range(rounds + 1):
        # Every second round goes the other way, as the machine drifts.
        for each in STARTS if number % 2 else reversed(STARTS):
            found = run(each)
            # The first round reads the files into memory.
            if number:
                taken[each.name].append(found)
    table.show(
        ["command", "median ms", "fastest ms", "processor ms", "target ms", ""],
        [
            [
                each.name,
                f"{_median(taken[each.name], 0):.0f}",
                f"{min(found.wall_ms for found in taken[each.name]):.0f}",
                f"{_median(taken[each.name], 1):.0f}",
                f"{each.target_ms:g}" if each.target_ms else "",
                table.target(_median(taken[each.name], 0) <= each.target_ms) if each.target_ms else "",
            ]
            for each in STARTS
        ],
    )
    CACHE.mkdir(exist_ok=True)
    (CACHE / "start.json").write_text(json.dumps(taken))


def _median(taken: list[Taken], field: int) -> float:
    return median(each[field] for each in taken)


if __name__ == "__main__":
    main()
