"""What a verification found, for people and for programs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from remit.audit.chain import DECISIONS, ChainId
from remit.audit.ids import format_id
from remit.audit.verify.finding import Finding, Report
from remit.audit.verify.walk import Progress
from remit.faces.cli.exits import out
from remit.faces.cli.progress import progress

_ID_BYTES: Final = 16


@contextmanager
def counting(what: str) -> Iterator[Progress]:
    """A bar on standard error while something is walked."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with progress(*columns) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def tell(report: Report, *, keyed: bool) -> None:
    lines = [finding_told(finding) for finding in report.findings]
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


def finding_told(finding: Finding) -> str:
    where = f"seq {finding.seq}" if finding.seq else "no place"
    named = "" if finding.id is None else f", record {_id_told(finding.id)}"
    return f"{finding.kind}: {_chain_told(finding.chain)}, {where}{named}: {finding.told}"


def _chain_told(chain: ChainId) -> str:
    if not chain.table:
        return "the database's schema"
    what = "decisions" if chain.table == DECISIONS else "lifecycle records"
    return f"{what} of {f'tenant `{chain.tenant}`' if chain.tenant else 'no tenant'} by node `{chain.node}`"


def _id_told(id_: Any) -> str:
    return format_id(id_) if isinstance(id_, bytes) and len(id_) == _ID_BYTES else repr(id_)


def report_json(report: Report) -> dict[str, Any]:
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
