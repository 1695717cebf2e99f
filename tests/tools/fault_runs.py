"""What the programs that break real servers share: options, a scratch folder, lines of results and the exit code."""

import shutil
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from random import Random
from secrets import randbits
from subprocess import SubprocessError
from typing import Final, Self

from remit.audit.errors import AuditStoreError
from remit.client import DecisionUnavailable
from remit.fleet.errors import PolicyStoreError
from remit.pytest_plugin.server_process import ServerProcessError

from .faults.fleet.network import NoNetworkError
from .faults.postgresql import NoDatabaseError
from .faults.promise import BrokenPromiseError

_BROKEN: Final = (
    BrokenPromiseError,
    ServerProcessError,
    AuditStoreError,
    PolicyStoreError,
    DecisionUnavailable,
    OSError,
    SubprocessError,
)


def fault_parser(program: str, description: str, faults: Collection[str]) -> ArgumentParser:
    prog = f"python -m tests.tools.{program}"
    parser = ArgumentParser(prog=prog, description=description, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only",
        action="append",
        choices=faults,
        metavar="FAULT",
        help=f"only this one, of {', '.join(faults)}; may be repeated",
    )
    parser.add_argument("--seed", type=int, default=randbits(32), help="of the random numbers, to repeat a run")
    return parser


def count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


class Outcome(StrEnum):
    KEPT = "kept"
    BROKEN = "BROKEN"
    NOT_RUN = "not run"
    """This machine cannot run the fault."""


@dataclass(slots=True)
class FaultTry:
    name: str
    rounds: int
    rng: Random
    outcome: Outcome = Outcome.KEPT
    causes: list[str] = field(default_factory=list)
    """Why it is broken or not run."""
    numbers: Sequence[object] = ()
    """What it counted, in the order of the run's columns."""
    done: int = 0

    def advance(self) -> None:
        """A round is over."""
        self.done += 1
        if sys.stderr.isatty():
            print(f"\r{self.name}: {self.done} of {self.rounds} ", end="", file=sys.stderr, flush=True)


class FaultRun:
    """Tries one fault after another, and prints a line for each. Its folder stays if a promise is broken."""

    def __init__(self, options: Namespace, faults: Collection[str], columns: Sequence[str]) -> None:
        self.names = [name for name in faults if not options.only or name in options.only]
        self._seed = options.seed
        self._columns = columns
        self._outcomes = Counter[Outcome]()

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="remit-faults-"))
        print(f"seed {self._seed}")
        self._print("fault", "rounds", *self._columns, "seconds", "result")
        return self

    def __exit__(self, *_: object) -> None:
        if self._outcomes[Outcome.BROKEN]:
            print(f"its files are in {self.folder}", file=sys.stderr)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def trying(self, name: str, rounds: int) -> Iterator[FaultTry]:
        """The block tries a fault. What it raises is the outcome, unless it is a mistake of ours."""
        began_s = time.monotonic()
        tried = FaultTry(name, rounds, Random(f"{self._seed} {name}"))
        try:
            yield tried
        except (NoDatabaseError, NoNetworkError) as error:
            tried.outcome, tried.causes = Outcome.NOT_RUN, [str(error)]
        except _BROKEN as error:
            tried.outcome, tried.causes = Outcome.BROKEN, [str(error)]
        self._outcomes[tried.outcome] += 1
        if tried.done and sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)
        numbers = tried.numbers or [""] * len(self._columns)
        self._print(name, tried.done, *numbers, f"{time.monotonic() - began_s:.1f}", tried.outcome)
        for cause in tried.causes:
            print(f"{name}: {cause}", flush=True)

    def end(self) -> int:
        """Prints the sum. Returns the exit code: 0 if every promise is kept, 1 if one is broken, 3 if nothing was tried."""
        kept, broken, left = (self._outcomes[each] for each in Outcome)
        print(f"{kept} of {kept + broken} faults broke no promise" + (f", {left} not run" if left else ""))
        return 1 if broken else 0 if kept else 3

    def _print(self, name: str, *cells: object) -> None:
        *numbers, result = cells
        print(f"{name:<17}", *(f"{each!s:>12}" for each in numbers), f" {result}", flush=True)
