from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from remit.audit.chain.anchors import AnchorError, read_heads
from remit.audit.chain.signing import Checkpoint, PublicKey
from remit.audit.export.errors import ExportError, NoExportError, OtherExportError
from remit.audit.export.verify import find_export, verify_export
from remit.audit.store.shards import ShardedStore
from remit.audit.store.verifications import record_verification
from remit.audit.verify.finding import VerificationReport
from remit.audit.verify.store import verify_store
from remit.cli.audit.options import STORE_DEFAULT, StoreOption, chains_of, moment, public_key, span
from remit.cli.audit.report_text import Verified, counting, print_report, report_json
from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.open_store import opened
from remit.cli.common.output import Exit, fail
from remit.clock import now_us


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
            help="A public key that must have made the signatures: a PEM file, or 64 hex digits; may be repeated.",
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
            help="Instead of a store: this file of an export, with the others that its proof names.",
            show_default=False,
        ),
    ] = None,
    unsigned: Annotated[
        int,
        typer.Option(
            parser=span, metavar="SPAN", help="With --key: how old a record may be without a signature that covers it."
        ),
    ] = "1h",  # type: ignore[assignment]
    at: Annotated[
        int | None,
        typer.Option(
            parser=moment,
            metavar="TIME",
            help="With --key: measure ages to this time instead of now, for an old backup or export: ISO 8601 "
            "(UTC if it names no zone), or an age.",
            show_default=False,
        ),
    ] = None,
    counts: Annotated[bool, typer.Option("--counts", help="Also compare the hourly counts with the records.")] = False,
    record: Annotated[
        bool,
        typer.Option("--record", help="Leave a record of the result in the store, which ListHeads shows."),
    ] = False,
    as_json: JsonOption = False,
    audit: StoreOption = STORE_DEFAULT,
) -> None:
    """Verify every chain, and name the first record of each that was altered, removed, inserted or reordered.

    Needs no server and disturbs none: if a server writes meanwhile, the records at the start are verified. With --key,
    a given key must have signed each record that is older than --unsigned; chains of a node that never recorded that it
    signs are listed instead. docs/reference/audit-chain.md says what a result proves: with a key, without one, and with
    heads kept elsewhere.

    Example: `remit audit verify --key audit.pem.pub --against heads.jsonl`
    """
    if export is not None:
        _refuse_of_stores(tenant, counts=counts, record=record)
    if at is not None and not key:
        fail(Exit.USAGE, "--at measures the age of unsigned records: add a --key, or leave it out")
    at_us = now_us() if at is None else at
    how: dict[str, Any] = {"keys": key or [], "against": _heads(against or []), "unsigned_us": unsigned, "at_us": at_us}
    if export is not None:
        report, subject = _of_export(export, how)
    else:
        with opened(audit, as_evidence=True) as store, store.snapshots() as snapshots, counting("records") as progress:
            report = verify_store(snapshots, tenant=tenant, counts=counts, progress=progress, **how)
            subject = _names(store)
        if tenant is not None and not (report.chains or report.findings):
            fail(Exit.UNAVAILABLE, f"there is nothing of tenant `{tenant}` in the store")
    if record:
        with opened(audit, writing=True) as store:
            record_verification(store, report, tenant or "", [each.id for each in key or []])
    verified = Verified(subject, tenant, [each.id for each in key or []], at_us)
    if as_json:
        print_json(report_json(report, verified))
    else:
        print_report(report, verified)
    if not report.is_whole:
        raise typer.Exit(Exit.NO)


def _refuse_of_stores(tenant: str | None, *, counts: bool, record: bool) -> None:
    if tenant is not None or counts:
        fail(Exit.USAGE, "an export is of one tenant and holds no counts: leave out --tenant and --counts")
    if record:
        fail(Exit.USAGE, "--record writes into a store, and an export is none: leave out one of them")


def _of_export(export: Path, how: Mapping[str, Any]) -> tuple[VerificationReport, list[str]]:
    try:
        files = find_export(export)
        with counting("records") as progress:
            return verify_export(files, progress=progress, **how), [str(file) for file in files.all]
    except NoExportError as error:
        fail(Exit.UNAVAILABLE, str(error))
    except OtherExportError as error:
        fail(Exit.USAGE, str(error))
    except ExportError as error:
        fail(Exit.NO, str(error))


def _names(store: ShardedStore) -> list[str]:
    return [str(each.file or each.url) for each in store.members]


def _heads(files: list[Path]) -> list[tuple[Checkpoint, str]]:
    try:
        return [head for file in files for head in read_heads(file)]
    except AnchorError as error:
        fail(Exit.USAGE, str(error))
