from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from remit.cli.common.output import Exit, err, fail, out
from remit.cli.common.policies_option import with_policies
from remit.cli.common.policy_files import loading
from remit.cli.common.progress import progress
from remit.cli.policy.junit import junit
from remit.core.names import CALLERS, INSTANCE
from remit.core.rows import Rule
from remit.engine.pacing import Pacing
from remit.policy.load import DEFAULT_LIMITS, LoadedTenant, load_root, load_tenant
from remit.policy.read.tree import read_tree
from remit.policy.testing.coverage import coverage as covered
from remit.policy.testing.coverage import exercised, rows_of
from remit.policy.testing.mutants import Mutant, mutants
from remit.policy.testing.mutation import Trial, Verdict, judge

_Item = TypeVar("_Item")
_COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


@with_policies
def test(
    directory: Path,
    tenant: Annotated[
        str | None,
        typer.Option(help="Only this tenant; the rows of managed roles are left out of reports.", show_default=False),
    ] = None,
    junit_file: Annotated[
        Path | None,
        typer.Option("--junit", metavar="FILE", help="Write the results as JUnit XML too.", show_default=False),
    ] = None,
    coverage: Annotated[bool, typer.Option("--coverage", help="List the rows that no case exercises.")] = False,
    mutate: Annotated[
        bool,
        typer.Option("--mutate", help="Delete, flip and widen each row, and list the mutants that no case notices."),
    ] = False,
    fail_under: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=100,
            metavar="N",
            help="Exit 1 below N % of rows exercised, and with --mutate of mutants noticed.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run the tests of every tenant, on remit's engine and on Casbin over the same rows.

    Prints each failure with the expected answer and the reason for the actual one. docs/how-to/test-policies.md
    describes the reports.

    Example: `remit test policies --tenant acme --coverage`
    """
    with loading(directory):
        tree = read_tree(directory, DEFAULT_LIMITS)
        root = load_root(tree)
    names = [name for name in tree.tenants if tenant in {None, name}]
    if tenant is not None and not names:
        fail(Exit.USAGE, f"no tenant `{tenant}` in `{directory}`")
    with progress(*_COLUMNS) as shown:
        tested = [load_tenant(tree, name, root, gated=False, pacing=_paced(shown, name)) for name in names]
    passed = _print_results(tested)
    if junit_file is not None:
        try:
            junit_file.write_bytes(junit(tested))
        except OSError as error:
            fail(Exit.UNAVAILABLE, f"`{junit_file}` cannot be written: {error.strerror or error}")
    managed = root.managed if tenant is None else ()
    holds = passed
    if coverage or (fail_under is not None and not mutate):
        passed &= _print_coverage(tested, managed) >= (fail_under or 0)
    if mutate and not holds:
        fail(Exit.NO, "no mutants were made: cases that fail without a mutant would notice every mutant")
    if mutate:
        passed &= _print_mutants(tested, managed) >= (100 if fail_under is None else fail_under)
    raise typer.Exit(Exit.OK if passed else Exit.NO)


def _print_results(tested: Sequence[LoadedTenant]) -> bool:
    passed = failed = 0
    refused = [loaded for loaded in tested if loaded.mistakes]
    for loaded in tested:
        for each in loaded.mistakes:
            err.print(str(each))
        if loaded in refused:
            continue
        for failure in loaded.failures:
            out.print(f"FAILED {failure.case.place}", style="red")
            out.print("\n".join(f"  {line}" for line in failure.text.splitlines()))
        wrong = len({each.case for each in loaded.failures})
        failed += wrong
        passed += len(loaded.cases) - wrong
        engines = "remit and Casbin" if loaded.witnessed or not loaded.cases else "remit alone, too large for Casbin"
        out.print(f"{loaded.tenant}: {len(loaded.cases) - wrong} of {len(loaded.cases)} cases hold ({engines})")
    for loaded in refused:
        err.print(f"{loaded.tenant}: does not load, so its tests did not run", style="red")
    out.print(f"{passed} passed, {failed} failed")
    return not (failed or refused)


def _print_coverage(tested: Sequence[LoadedTenant], managed: Sequence[Rule]) -> float:
    """Prints the rows that no case exercises. Returns the exercised share of all rows, in percent."""
    snapshots = {loaded.snapshot: loaded.cases for loaded in tested if loaded.snapshot is not None}
    seen = {row for snapshot, cases in snapshots.items() for row in exercised(snapshot, cases)}
    files = covered(chain(managed, *(rows_of(snapshot.policy) for snapshot in snapshots)), seen)
    for each in files:
        for row in each.missed:
            out.print(f"not exercised: {row.place}  {row.text}")
    rows = sum(each.rows for each in files)
    missed = sum(len(each.missed) for each in files)
    width = max((len(each.file) for each in files), default=0)
    for each in files:
        out.print(
            f"{each.file:{width}}  {_percent(each.rows - len(each.missed), each.rows)}"
            f"  {each.rows - len(each.missed)} of {each.rows} rows",
            markup=False,
        )
    out.print(f"{rows - missed} of {rows} rows exercised, {_percent(rows - missed, rows).strip()}")
    return 100 * (rows - missed) / rows if rows else 100.0


def _print_mutants(tested: Sequence[LoadedTenant], managed: Sequence[Rule]) -> float:
    """Prints the mutants that no case notices.

    Returns the noticed share of the mutants that change a decision, in percent.
    """
    snapshots = {loaded.snapshot: loaded.cases for loaded in tested if loaded.snapshot is not None}
    trials = {snapshot.tenant: Trial(snapshot, cases) for snapshot, cases in snapshots.items()}
    everywhere = [trial for tenant, trial in trials.items() if tenant not in {INSTANCE, CALLERS}]
    rows = [*managed, *chain.from_iterable(rows_of(snapshot.policy) for snapshot in snapshots)]
    made = [mutant for row in rows for mutant in mutants(row)]
    verdicts: defaultdict[Verdict, list[Mutant]] = defaultdict(list)
    with progress(*_COLUMNS) as shown:
        for mutant in shown.track(made, description="mutants"):
            trial = trials.get(mutant.row.tenant)
            verdicts[judge(mutant, everywhere if trial is None else (trial,))].append(mutant)
    for verdict in (Verdict.EQUIVALENT, Verdict.UNDECIDED, Verdict.SURVIVED):
        for mutant in sorted(verdicts[verdict], key=_place):
            out.print(f"{verdict}: {mutant.row.place}  {mutant.change}  {mutant.text}")
    counts = {verdict: len(verdicts[verdict]) for verdict in Verdict}
    verdict_counts = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    out.print(f"{len(made)} mutants: {verdict_counts}")
    noticed, judged = counts[Verdict.NOTICED], len(made) - counts[Verdict.EQUIVALENT]
    return 100 * noticed / judged if judged else 100.0


def _place(mutant: Mutant) -> tuple[str, int]:
    return mutant.row.file, mutant.row.line


def _percent(part: int, whole: int) -> str:
    """Rounds down: only the whole is 100 %."""
    return f"{1000 * part // whole / 10 if whole else 100.0:5.1f} %"


def _paced(shown: Progress, name: str) -> Pacing:
    def pacing(items: Iterable[_Item], /) -> Iterable[_Item]:
        return shown.track(items, description=name)

    return pacing
