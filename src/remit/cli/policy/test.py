from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.junit import JunitOption, write_junit
from remit.cli.common.output import Exit, err, fail, out
from remit.cli.common.policies_option import with_policies
from remit.cli.common.policy_files import loading
from remit.cli.common.progress import progress
from remit.cli.policy.junit import junit
from remit.core.diagnostics import PolicyError
from remit.core.names import CALLERS, INSTANCE
from remit.core.rows import Rule
from remit.engine.pacing import Pacing
from remit.engine.snapshot import Snapshot
from remit.policy.load import DEFAULT_LIMITS, LoadedTenant, load_root, load_tenant
from remit.policy.read.tree import read_tree
from remit.policy.testing.cases import Case
from remit.policy.testing.coverage import FileCoverage, Row, exercised, rows_of
from remit.policy.testing.coverage import coverage as covered
from remit.policy.testing.mutants import Mutant, mutants
from remit.policy.testing.mutation import Trial, Verdict, judge

_Item = TypeVar("_Item")
_COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
_TOLD = (Verdict.REFUSED, Verdict.EQUIVALENT, Verdict.UNDECIDED, Verdict.SURVIVED)
_NOTHING_RAN: Final = {"passed": 0, "failed": 0, "tenants": (), "coverage": None, "mutants": None, "mistakes": ()}


@with_policies
def test(
    directory: Path,
    tenant: Annotated[
        str | None,
        typer.Option(help="Only this tenant; the rows of managed roles are left out of reports.", show_default=False),
    ] = None,
    junit_file: JunitOption = None,
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
    as_json: JsonOption = False,
) -> None:
    """Run the tests of every tenant, on remit's engine and on Casbin over the same rows.

    Prints each failure with the expected answer and the reason for the actual one. docs/how-to/test-policies.md
    describes the reports.

    Example: `remit test policies --tenant acme --coverage`
    """
    try:
        with loading(directory, told=not as_json):
            tree = read_tree(directory, DEFAULT_LIMITS)
            root = load_root(tree)
    except PolicyError as error:
        print_json({**_NOTHING_RAN, "mistakes": error.diagnostics})
        raise typer.Exit(Exit.NO) from None
    names = [name for name in tree.tenants if tenant in {None, name}]
    if tenant is not None and not names:
        fail(Exit.USAGE, f"no tenant `{tenant}` in `{directory}`")
    with progress(*_COLUMNS) as shown:
        tested = [load_tenant(tree, name, root, gated=False, pacing=_paced(shown, name)) for name in names]
    holds = not any(loaded.mistakes or loaded.failures for loaded in tested)
    if not as_json:
        _print_results(tested)
    if junit_file is not None:
        write_junit(junit_file, junit(tested))
    managed = root.managed if tenant is None else ()
    files = verdicts = None
    passed = holds
    if coverage or (fail_under is not None and not mutate):
        files = _covered(tested, managed)
        passed &= _exercised_percent(files) >= (fail_under or 0)
    if mutate and holds:
        verdicts = _judged(tested, managed)
        passed &= _noticed_percent(verdicts) >= (100 if fail_under is None else fail_under)
    if as_json:
        print_json(_plain(tested, files, verdicts))
    else:
        _print_reports(files, verdicts)
    if mutate and not holds:
        fail(Exit.NO, "no mutants were made: cases that fail without a mutant would notice every mutant")
    raise typer.Exit(Exit.OK if passed else Exit.NO)


def _print_results(tested: Sequence[LoadedTenant]) -> None:
    for loaded in tested:
        for each in loaded.mistakes:
            err.print(str(each))
        if loaded.mistakes:
            continue
        for failure in loaded.failures:
            out.print(f"FAILED {failure.case.place}", style="red")
            out.print("\n".join(f"  {line}" for line in failure.text.splitlines()))
        passed, _ = _counts(loaded)
        out.print(f"{loaded.tenant}: {passed} of {len(loaded.cases)} cases hold ({_engines(loaded)})")
    for loaded in tested:
        if loaded.mistakes:
            err.print(f"{loaded.tenant}: does not load, so its tests did not run", style="red")
    passed, failed = _sums(tested)
    out.print(f"{passed} passed, {failed} failed")


def _counts(loaded: LoadedTenant) -> tuple[int, int]:
    """The cases that hold, and those that do not. None ran if the tenant does not load."""
    failed = len({each.case for each in loaded.failures})
    return (0, 0) if loaded.mistakes else (len(loaded.cases) - failed, failed)


def _sums(tested: Sequence[LoadedTenant]) -> tuple[int, int]:
    counts = [_counts(loaded) for loaded in tested]
    return sum(passed for passed, _ in counts), sum(failed for _, failed in counts)


def _engines(loaded: LoadedTenant) -> str:
    return "remit and Casbin" if loaded.witnessed or not loaded.cases else "remit alone, too large for Casbin"


def _snapshots(tested: Sequence[LoadedTenant]) -> dict[Snapshot, Sequence[Case]]:
    return {loaded.snapshot: loaded.cases for loaded in tested if loaded.snapshot is not None}


def _covered(tested: Sequence[LoadedTenant], managed: Sequence[Rule]) -> list[FileCoverage]:
    snapshots = _snapshots(tested)
    seen = {row for snapshot, cases in snapshots.items() for row in exercised(snapshot, cases)}
    return covered(chain(managed, *(rows_of(snapshot.policy) for snapshot in snapshots)), seen)


def _judged(tested: Sequence[LoadedTenant], managed: Sequence[Rule]) -> dict[Verdict, list[Mutant]]:
    snapshots = _snapshots(tested)
    trials = {snapshot.tenant: Trial(snapshot, cases) for snapshot, cases in snapshots.items()}
    everywhere = [trial for tenant, trial in trials.items() if tenant not in {INSTANCE, CALLERS}]
    rows = [*managed, *chain.from_iterable(rows_of(snapshot.policy) for snapshot in snapshots)]
    made = [mutant for row in rows for mutant in mutants(row)]
    verdicts: dict[Verdict, list[Mutant]] = {verdict: [] for verdict in Verdict}
    with progress(*_COLUMNS) as shown:
        for mutant in shown.track(made, description="mutants"):
            trial = trials.get(mutant.row.tenant)
            verdicts[judge(mutant, everywhere if trial is None else (trial,))].append(mutant)
    return {verdict: sorted(found, key=_place) for verdict, found in verdicts.items()}


def _rows(files: Iterable[FileCoverage]) -> tuple[int, int]:
    """The exercised rows, and all."""
    rows = sum(each.rows for each in files)
    return rows - sum(len(each.missed) for each in files), rows


def _exercised_percent(files: Sequence[FileCoverage]) -> float:
    seen, rows = _rows(files)
    return 100 * seen / rows if rows else 100.0


def _noticed_percent(verdicts: Mapping[Verdict, Sequence[Mutant]]) -> float:
    """The noticed share of the mutants that load and change a decision."""
    counted = (Verdict.NOTICED, Verdict.SURVIVED, Verdict.UNDECIDED)
    judged = sum(len(verdicts[verdict]) for verdict in counted)
    return 100 * len(verdicts[Verdict.NOTICED]) / judged if judged else 100.0


def _print_reports(files: Sequence[FileCoverage] | None, verdicts: Mapping[Verdict, Sequence[Mutant]] | None) -> None:
    if files is not None:
        _print_coverage(files)
    if verdicts is not None:
        for verdict in _TOLD:
            for mutant in verdicts[verdict]:
                what = "refused by the loader" if verdict is Verdict.REFUSED else verdict
                out.print(f"{what}: {mutant.row.place}  {mutant.change}  {mutant.text}")
        counts = {verdict: len(found) for verdict, found in verdicts.items()}
        verdict_counts = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        out.print(f"{sum(counts.values())} mutants: {verdict_counts}")


def _print_coverage(files: Sequence[FileCoverage]) -> None:
    """Prints the rows that no case exercises."""
    for each in files:
        for row in each.missed:
            out.print(f"not exercised: {row.place}  {row.text}")
    width = max((len(each.file) for each in files), default=0)
    for each in files:
        seen = each.rows - len(each.missed)
        out.print(f"{each.file:{width}}  {_percent(seen, each.rows)}  {seen} of {each.rows} rows", markup=False)
    seen, rows = _rows(files)
    out.print(f"{seen} of {rows} rows exercised, {_percent(seen, rows).strip()}")


def _plain(
    tested: Sequence[LoadedTenant],
    files: Sequence[FileCoverage] | None,
    verdicts: Mapping[Verdict, Sequence[Mutant]] | None,
) -> dict[str, Any]:
    passed, failed = _sums(tested)
    document: dict[str, Any] = {
        **_NOTHING_RAN,
        "passed": passed,
        "failed": failed,
        "tenants": [_tenant_json(each) for each in tested],
        "mistakes": [mistake for each in tested for mistake in each.mistakes],
    }
    if files is not None:
        seen, rows = _rows(files)
        by_file = [{"file": each.file, "rows": each.rows, "missed": map(_row_json, each.missed)} for each in files]
        document["coverage"] = {"rows": rows, "exercised": seen, "files": by_file}
    if verdicts is not None:
        counts = {verdict.value: len(found) for verdict, found in verdicts.items()}
        listed = [
            {"verdict": verdict, "change": each.change, **_row_json(each.row), "mutated": each.text}
            for verdict in _TOLD
            for each in verdicts[verdict]
        ]
        document["mutants"] = {**counts, "listed": listed}
    return document


def _tenant_json(loaded: LoadedTenant) -> dict[str, Any]:
    passed, failed = _counts(loaded)
    failures = [
        {
            "test": each.case.test,
            "file": each.case.file,
            "line": each.case.line,
            "column": each.case.column,
            "asked": each.case.asked,
            "expected": each.expected,
            "actual": each.actual,
            "why": each.why,
        }
        for each in ([] if loaded.mistakes else loaded.failures)
    ]
    engines = ["remit", "casbin"] if loaded.witnessed or not loaded.cases else ["remit"]
    counts = {"passed": passed, "failed": failed}
    return {"tenant": loaded.tenant, "loads": not loaded.mistakes, **counts, "engines": engines, "failures": failures}


def _row_json(row: Row) -> dict[str, Any]:
    return {"file": row.file, "line": row.line, "text": row.text}


def _place(mutant: Mutant) -> tuple[str, int]:
    return mutant.row.file, mutant.row.line


def _percent(part: int, whole: int) -> str:
    """Rounds down: only the whole is 100 %."""
    return f"{1000 * part // whole / 10 if whole else 100.0:5.1f} %"


def _paced(shown: Progress, name: str) -> Pacing:
    def pacing(items: Iterable[_Item], /) -> Iterable[_Item]:
        return shown.track(items, description=name)

    return pacing
