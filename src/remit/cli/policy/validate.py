import secrets
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from random import Random
from typing import Annotated, Any

import typer
from rich.progress import TextColumn

from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.output import Exit, err, fail, out
from remit.cli.common.policies_option import with_policies
from remit.cli.common.policy_files import loading, read_files
from remit.cli.common.progress import progress
from remit.cli.policy.question_sources import questions_in, questions_of
from remit.core.diagnostics import Diagnostic, PolicyError
from remit.core.names import Tenant
from remit.core.question import Question, ReachQuestion
from remit.engine.differential.compare import verify as compare
from remit.engine.differential.random_questions import random_questions, random_reach_questions
from remit.engine.snapshot import Snapshot
from remit.policy.load import LoadedTenant, load_tree


@with_policies
def validate(
    directory: Path,
    identities: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Check the file of the server's setting `identities` too.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check that every file loads: names, rows, roles, chains, manifests, and the form of tests.

    Prints each error as file:line:column with what was expected. To run the tests, use `remit test`.

    Example: `remit validate policies`
    """
    try:
        with loading(directory, told=not as_json):
            tree = load_tree(directory)
    except PolicyError as error:
        print_json({"tenants": [], "identities": None, "mistakes": error.diagnostics})
        raise typer.Exit(Exit.NO) from None
    found = [each for loaded in tree.tenants.values() for each in loaded.mistakes]
    counts = None
    if identities is not None:
        counts, wrong = _read_identities(identities)
        found += wrong
    if as_json:
        tenants = [_plain(tenant, loaded) for tenant, loaded in tree.tenants.items()]
        print_json({"tenants": tenants, "identities": counts, "mistakes": found})
    else:
        for each in found:
            err.print(str(each))
        for tenant, loaded in tree.tenants.items():
            if not loaded.mistakes:
                cases = f"{len(loaded.cases)} test cases"
                out.print(f"{tenant}: {loaded.rows} rows, {cases}, revision {loaded.revision[:12]}")
        if counts is not None:
            out.print(
                f"{identities}: {counts['credentials']} credentials of callers, {counts['issuers']} issuers, "
                f"{counts['refused']} refused certificates",
                markup=False,
            )
    if not tree.tenants:
        fail(Exit.NO, f"`{directory}` has no tenant's folder")
    if found:
        fail(Exit.NO, f"{len(found)} mistake{'s' if len(found) > 1 else ''}")


def _plain(tenant: str, loaded: LoadedTenant) -> dict[str, Any]:
    counts = {"rows": loaded.rows, "cases": len(loaded.cases)}
    return {"tenant": tenant, "loads": not loaded.mistakes, "revision": loaded.revision, **counts}


def _read_identities(file: Path) -> tuple[dict[str, int] | None, Sequence[Diagnostic]]:
    """How much a file of identities holds, or its mistakes."""
    # Policies alone need no library for tokens.
    from remit.service.identities.file import IdentitiesError, read_identities  # noqa: PLC0415

    try:
        read = read_identities(file)
    except IdentitiesError as error:
        return None, error.diagnostics
    return {"credentials": read.rows, "issuers": len(read.issuers), "refused": len(read.refused)}, ()


@with_policies
def verify(
    directory: Path,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.", show_default=False)] = None,
    random: Annotated[int, typer.Option(min=0, help="Random questions of each plane, for each tenant.")] = 5_000,
    seed: Annotated[int | None, typer.Option(help="Ask the same random questions again.", show_default=False)] = None,
    questions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Ask these instead: JSON lines with `tenant`, `principal`, `action`, `kind`, `namespace`.",
            show_default=False,
        ),
    ] = None,
    audit: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Ask instead what this audit store's decisions were asked.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask remit's engine and Casbin the same questions over the same rows, and stop at the first difference.

    Prints the difference as a minimal case: only the rows that it needs. Casbin's time is quadratic in the users of a
    namespace: use this for tenants of up to some thousand rows.

    Example: `remit verify policies --tenant acme --random 500`
    """
    if questions is not None and audit is not None:
        fail(Exit.USAGE, "--questions and --audit are two sources: name one")
    snapshots = _snapshots(directory, tenant)
    seed = secrets.randbits(32) if seed is None else seed
    at_random = questions is None and audit is None
    if at_random and not as_json:
        out.print(f"seed {seed}")
    compared: list[dict[str, Any]] = []
    for name, snapshot in snapshots.items():
        asked = _asked(snapshot, questions, audit, seed, random)
        with progress(TextColumn("{task.description} {task.completed}")) as shown:
            found = compare(snapshot, shown.track(asked, description=name))
        early = found.asked - found.compared
        difference = "" if found.difference is None else found.difference.text
        compared.append({"tenant": name, "alike": found.compared, "decided_early": early, "difference": difference})
        if difference:
            break
        if not as_json:
            out.print(f"{name}: {found.compared} questions answered alike, {early} decided before any row")
    if as_json:
        print_json({"seed": seed if at_random else None, "tenants": compared})
    if found.difference is not None:
        if not as_json:
            out.print(found.difference.text)
        fail(
            Exit.NO,
            f"{name}: the engines differ after {found.compared} equal answers: a defect in remit, please report it",
        )


def _snapshots(directory: Path, tenant: str | None) -> dict[Tenant, Snapshot]:
    """Ends the command if there is no such tenant, or one does not load."""
    found = {}
    for name, loaded in read_files(directory).tenants.items():
        if tenant in {None, name}:
            if loaded.snapshot is None:
                fail(Exit.NO, f"tenant `{name}` does not load: see `remit validate` and `remit test`")
            found[name] = loaded.snapshot
    if not found:
        fail(Exit.USAGE, f"no tenant `{tenant}` in `{directory}`")
    return found


def _asked(
    snapshot: Snapshot, questions: Path | None, audit: str | None, seed: int, count: int
) -> Iterable[Question | ReachQuestion]:
    tenant = snapshot.tenant
    if questions is not None:
        return questions_in(questions, tenant)
    if audit is not None:
        return questions_of(audit, tenant)
    access = random_questions(snapshot.policy, Random(seed), count)
    return chain(access, random_reach_questions(snapshot.policy, Random(seed), count))
