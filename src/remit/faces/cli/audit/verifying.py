from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from remit.audit.chain import DECISIONS, ChainId
from remit.audit.ids import format_id
from remit.audit.signing import Checkpoint, PublicKey
from remit.audit.verify.database import verify_store
from remit.audit.verify.elsewhere import KeptElsewhereError, read_heads
from remit.audit.verify.finding import Finding, Report
from remit.faces.cli.audit.options import STORE_DEFAULT, StoreOption, public_key, span
from remit.faces.cli.exits import Exit, fail, out, print_json
from remit.faces.cli.progress import progress
from remit.faces.cli.store import opened

_ID_BYTES = 16


def verify(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's records.", show_default=False)] = None,
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
    heads = _heads(against or [])
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with opened(audit) as store, store.snapshots() as snapshots, progress(*columns) as bar:
        task = bar.add_task("records", total=None)
        report = verify_store(
            snapshots,
            tenant=tenant,
            keys=key or [],
            against=heads,
            unsigned_us=unsigned,
            counts=counts,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if as_json:
        print_json(_json(report))
    else:
        _tell(report, keyed=bool(key))
    if report.findings:
        raise typer.Exit(Exit.NO)


def _heads(files: list[Path]) -> list[tuple[Checkpoint, str]]:
    try:
        return [head for file in files for head in read_heads(file)]
    except KeptElsewhereError as error:
        fail(Exit.USAGE, str(error))


def _tell(report: Report, *, keyed: bool) -> None:
    lines = [_finding_told(finding) for finding in report.findings]
    chains = f"{report.records:,} records in {len(report.chains):,} chains"
    lines.append(f"{chains}: something is wrong" if lines else f"{chains}: whole")
    statements = f"{report.checkpoints:,} checkpoints, {report.tombstones:,} tombstones"
    if report.unchecked:
        keys = ", ".join(f"`{key or 'none'}`" for key in sorted(report.unchecked))
        lines.append(f"{statements}: no key was given, so nobody checked their signatures (keys {keys})")
    else:
        lines.append(statements)
    behind = sum(each.upto - max(each.signed_upto, each.after) for each in report.chains)
    if keyed:
        lines.append(f"{behind:,} records come after the last signature of their chain")
    if report.against:
        lines.append(f"{report.against:,} heads kept elsewhere were held against the chains")
    if report.beyond_reach:
        lines.append(f"{report.beyond_reach:,} heads kept elsewhere are of records that have been purged since")
    unchained = sum(each.unchained for each in report.chains)
    if unchained:
        lines.append(f"{unchained:,} records are from before there were chains: nothing proves them")
    for line in lines:
        out.print(line, markup=False)


def _finding_told(finding: Finding) -> str:
    where = f"seq {finding.seq}" if finding.seq else "no place"
    named = "" if finding.id is None else f", record {_id_told(finding.id)}"
    return f"{finding.kind}: {_chain_told(finding.chain)}, {where}{named}: {finding.told}"


def _chain_told(chain: ChainId) -> str:
    what = "decisions" if chain.table == DECISIONS else "lifecycle records"
    return f"{what} of {f'tenant `{chain.tenant}`' if chain.tenant else 'no tenant'} by node `{chain.node}`"


def _id_told(id_: Any) -> str:
    return format_id(id_) if isinstance(id_, bytes) and len(id_) == _ID_BYTES else repr(id_)


def _json(report: Report) -> dict[str, Any]:
    return {
        "whole": not report.findings,
        "records": report.records,
        "findings": [
            {
                **each.chain._asdict(),
                "kind": each.kind.value,
                "seq": each.seq,
                "id": None if each.id is None else _id_told(each.id),
                "told": each.told,
            }
            for each in report.findings
        ],
        "chains": [
            {
                **each.chain._asdict(),
                "after": each.after,
                "upto": each.upto,
                "signed_upto": each.signed_upto,
                "unchained": each.unchained,
            }
            for each in report.chains
        ],
        "checkpoints": report.checkpoints,
        "tombstones": report.tombstones,
        "unchecked": report.unchecked,
        "against": report.against,
        "beyond_reach": report.beyond_reach,
    }
