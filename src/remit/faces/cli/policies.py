from pathlib import Path

import typer

from remit.core.diagnostics import Diagnostic
from remit.faces.cli.exits import Exit, err, fail, out
from remit.faces.cli.files import DirectoryArgument, read_files
from remit.policy.load import LoadedTenant


def validate(directory: DirectoryArgument = Path("policies")) -> None:
    """Check that every file loads: names, rows, roles, chains, manifests and tests' own form.

    Prints each mistake as file:line:column with what was expected. Whether the tests pass is for `remit test`.
    """
    tree = read_files(directory)
    found = [each for loaded in tree.tenants.values() for each in _mistakes(loaded)]
    for each in found:
        err.print(str(each), markup=False)
    for tenant, loaded in tree.tenants.items():
        if not _mistakes(loaded):
            rows = loaded.snapshot.policy.rows if loaded.snapshot else "some"
            out.print(f"{tenant}: {rows} rows, {len(loaded.cases)} test cases, revision {loaded.revision[:12]}")
    if not tree.tenants:
        fail(Exit.NO, f"`{directory}` has no tenant's folder")
    if found:
        fail(Exit.NO, f"{len(found)} mistake{'s' if len(found) > 1 else ''}")


def test(directory: DirectoryArgument = Path("policies")) -> None:
    """Run the tests of every tenant, on remit's engine and on Casbin over the same rows.

    Prints each failure with what was expected and why the answer was otherwise.
    """
    tree = read_files(directory)
    refused = []
    passed = failed = 0
    for tenant, loaded in tree.tenants.items():
        mistakes = _mistakes(loaded)
        if mistakes:
            refused.append(tenant)
            for each in mistakes:
                err.print(str(each), markup=False)
            continue
        for failure in loaded.failures:
            out.print(f"FAILED {failure.case.file}:{failure.case.line}:{failure.case.column}", style="red")
            out.print(f"  {failure.case.test}: {failure.asked}", markup=False)
            out.print(f"  expected {failure.expected}, got {failure.actual}", markup=False)
            out.print("\n".join(f"  {line}" for line in failure.why.splitlines()), markup=False)
        wrong = len({(each.case.file, each.case.line, each.case.column) for each in loaded.failures})
        failed += wrong
        passed += len(loaded.cases) - wrong
        engines = "remit and Casbin" if loaded.witnessed or not loaded.cases else "remit alone, too large for Casbin"
        out.print(f"{tenant}: {len(loaded.cases) - wrong} of {len(loaded.cases)} cases hold ({engines})")
    for tenant in refused:
        err.print(f"{tenant}: does not load, so its tests did not run", style="red", markup=False)
    out.print(f"{passed} passed, {failed} failed")
    raise typer.Exit(Exit.NO if failed or refused else Exit.OK)


def _mistakes(loaded: LoadedTenant) -> list[Diagnostic]:
    """What keeps the files from loading, failed tests apart."""
    failures = {failure.diagnostic for failure in loaded.failures}
    return [each for each in loaded.diagnostics if each not in failures]
