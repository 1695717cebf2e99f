import secrets
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from random import Random
from typing import Annotated

import typer
from rich.progress import TextColumn

from remit.cli.common.output import Exit, err, fail, out
from remit.cli.common.policies_option import with_policies
from remit.cli.common.policy_files import read_files
from remit.cli.common.progress import progress
from remit.cli.policy.question_sources import questions_in, questions_of
from remit.core.diagnostics import Diagnostic
from remit.core.question import Question, ReachQuestion
from remit.engine.differential.compare import verify as compare
from remit.engine.differential.random_questions import random_questions, random_reach_questions


@with_policies
def validate(
    directory: Path,
    identities: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Check the file of the server's setting `identities` too.", show_default=False
        ),
    ] = None,
) -> None:
    """Check that every file loads: names, rows, roles, chains, manifests, and the form of tests.

    Prints each error as file:line:column with what was expected. To run the tests, use `remit test`.

    Example: `remit validate policies`
    """
    tree = read_files(directory)
    found = [each for loaded in tree.tenants.values() for each in loaded.mistakes]
    for each in found:
        err.print(str(each))
    for tenant, loaded in tree.tenants.items():
        if not loaded.mistakes:
            out.print(f"{tenant}: {loaded.rows} rows, {len(loaded.cases)} test cases, revision {loaded.revision[:12]}")
    if identities is not None:
        found += _mistakes_in(identities)
    if not tree.tenants:
        fail(Exit.NO, f"`{directory}` has no tenant's folder")
    if found:
        fail(Exit.NO, f"{len(found)} mistake{'s' if len(found) > 1 else ''}")


def _mistakes_in(file: Path) -> list[Diagnostic]:
    """Prints the mistakes in a file of identities, or what it holds."""
    # Policies alone need no library for tokens.
    from remit.service.identities.file import IdentitiesError, read_identities  # noqa: PLC0415

    try:
        read = read_identities(file)
    except IdentitiesError as error:
        for each in error.diagnostics:
            err.print(str(each))
        return list(error.diagnostics)
    out.print(
        f"{file}: {read.rows} credentials of callers, {len(read.issuers)} issuers, {len(read.refused)} refused "
        "certificates",
        markup=False,
    )
    return []


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
) -> None:
    """Ask remit's engine and Casbin the same questions over the same rows, and stop at the first difference.

    Prints the difference as a minimal case: only the rows that it needs. Casbin's time is quadratic in the users of a
    namespace: use this for tenants of up to some thousand rows.

    Example: `remit verify policies --tenant acme --random 500`
    """
    if questions is not None and audit is not None:
        fail(Exit.USAGE, "--questions and --audit are two sources: name one")
    tree = read_files(directory)
    snapshots = {name: loaded.snapshot for name, loaded in tree.tenants.items() if tenant in {None, name}}
    if not snapshots:
        fail(Exit.USAGE, f"no tenant `{tenant}` in `{directory}`")
    seed = secrets.randbits(32) if seed is None else seed
    if questions is None and audit is None:
        out.print(f"seed {seed}")
    for name, snapshot in snapshots.items():
        if snapshot is None:
            fail(Exit.NO, f"tenant `{name}` does not load: see `remit validate` and `remit test`")
        if questions is not None:
            asked: Iterable[Question | ReachQuestion] = questions_in(questions, name)
        elif audit is not None:
            asked = questions_of(audit, name)
        else:
            asked = chain(
                random_questions(snapshot.policy, Random(seed), random),
                random_reach_questions(snapshot.policy, Random(seed), random),
            )
        with progress(TextColumn("{task.description} {task.completed}")) as shown:
            found = compare(snapshot, shown.track(asked, description=name))
        if found.difference is not None:
            out.print(found.difference.text)
            fail(
                Exit.NO,
                f"{name}: the engines differ after {found.compared} equal answers: a defect in remit, please report it",
            )
        out.print(
            f"{name}: {found.compared} questions answered alike, {found.asked - found.compared} decided before any row"
        )
