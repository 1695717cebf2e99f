"""What the commands that break real servers share."""

import secrets
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

from remit.cli.common.output import Exit, err, fail

FAULT_COLUMNS: Final = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
SeedOption = Annotated[
    int | None, typer.Option(help="The seed of the random numbers, to repeat a run.", show_default=False)
]


def seeded(seed: int | None) -> int:
    return secrets.randbits(32) if seed is None else seed


def chosen_faults(only: Collection[str] | None, known: Collection[str]) -> list[str]:
    """The faults to try, in their order. Ends the command if one is unknown."""
    unknown = [name for name in only or () if name not in known]
    if unknown:
        fail(Exit.USAGE, f"no fault `{unknown[0]}`: expected one of {', '.join(known)}")
    return [name for name in known if not only or name in only]


class Scratch:
    """A folder for the files of the servers, which stays if something is `broken`."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="remit-faults-"))
        self.broken = 0


@contextmanager
def scratch_folder() -> Iterator[Scratch]:
    scratch = Scratch()
    try:
        yield scratch
    finally:
        if scratch.broken:
            err.print(f"its files are in {scratch.folder}")
        else:
            shutil.rmtree(scratch.folder, ignore_errors=True)


def exit_code(tried: int, broken: int) -> Exit:
    return Exit.NO if broken else Exit.OK if tried else Exit.UNAVAILABLE
