from pathlib import Path
from typing import Annotated, Any

import typer

from remit.audit.elsewhere import KeptElsewhereError, read_heads
from remit.audit.export.errors import ExportError
from remit.audit.export.verifying import verify_export
from remit.audit.signing import Checkpoint, PublicKey
from remit.audit.verify.database import verify_store
from remit.faces.cli.audit.options import STORE_DEFAULT, StoreOption, chains_of, public_key, span
from remit.faces.cli.audit.proving import counting, report_json, tell
from remit.faces.cli.exits import Exit, fail, print_json
from remit.faces.cli.store import opened


def verify(
    tenant: Annotated[
        str | None,
        typer.Option(parser=chains_of, metavar="TENANT", help="Only this tenant's records.", show_default=False),
    ] = None,
    key: Annotated[
        list[PublicKey] | None,
        typer.Option(
            parser=public_key,
            metavar="PUB",
            help="A public key that signatures must be of: a PEM file, or 64 hex digits. Once for each key.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Heads that `remit audit checkpoint` printed earlier.", show_default=False),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Instead of a store: what `remit audit export` wrote to this file and beside it.",
            show_default=False,
        ),
    ] = None,
    unsigned: Annotated[
        int,
        typer.Option(
            parser=span, metavar="SPAN", help="With --key: for how long a chain's end may be without a signature."
        ),
    ] = "1h",  # type: ignore[assignment]
    counts: Annotated[bool, typer.Option("--counts", help="Hold the hourly counts against the records too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    audit: StoreOption = STORE_DEFAULT,
) -> None:
    """Walk every chain again, and name the first record of each that was altered, removed, inserted or reordered.

    Needs no server and harms none: while one writes, what was there at the beginning is verified. What a result proves
    with a key, without one and with heads kept elsewhere is told in docs/audit-chain.md.

    Example: `remit audit verify --key audit.pem.pub --against heads.jsonl`
    """
    if export is not None and (tenant is not None or counts):
        fail(Exit.USAGE, "an export is of one tenant and holds no counts: leave out --tenant and --counts")
    how: dict[str, Any] = {"keys": key or [], "against": _heads(against or []), "unsigned_us": unsigned}
    if export is not None:
        try:
            with counting("records") as progress:
                report = verify_export(export, progress=progress, **how)
        except ExportError as error:
            fail(Exit.NO, str(error))
    else:
        with opened(audit, as_evidence=True) as store, store.snapshots() as snapshots, counting("records") as progress:
            report = verify_store(snapshots, tenant=tenant, counts=counts, progress=progress, **how)
        if tenant is not None and not (report.chains or report.findings):
            fail(Exit.UNAVAILABLE, f"there is nothing of tenant `{tenant}` in the store")
    if as_json:
        print_json(report_json(report))
    else:
        tell(report, keyed=bool(key))
    if report.findings:
        raise typer.Exit(Exit.NO)


def _heads(files: list[Path]) -> list[tuple[Checkpoint, str]]:
    try:
        return [head for file in files for head in read_heads(file)]
    except KeptElsewhereError as error:
        fail(Exit.USAGE, str(error))
