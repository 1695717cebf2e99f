from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from remit.audit.chain.chain import DECISIONS, ChainId
from remit.audit.ids import format_id
from remit.audit.verify.expectations import format_time
from remit.audit.verify.finding import AuditFinding, VerificationReport
from remit.audit.verify.walk import Progress
from remit.cli.common.output import out
from remit.cli.common.progress import progress

_ID_BYTES: Final = 16


@contextmanager
def counting(what: str) -> Iterator[Progress]:
    """Shows a progress bar on standard error during a walk."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with progress(*columns) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class Verified(NamedTuple):
    names: Sequence[str]
    tenant: str | None
    """The only tenant whose records were verified. None: all tenants."""
    keys: Sequence[str]
    """The ids of the given keys."""
    at_us: int
    """The time to which ages were measured, in microseconds since the Unix epoch."""


def print_report(report: VerificationReport, verified: Verified) -> None:
    for line, style in _lines(report, verified):
        out.print(line, style=style)


def _lines(report: VerificationReport, verified: Verified) -> Iterator[tuple[str, str | None]]:
    names = ", ".join(f"`{name}`" for name in verified.names)
    whose = "" if verified.tenant is None else f", {_whose(verified.tenant)} alone"
    yield f"verified {names}{whose}", None
    if verified.keys:
        keys = ", ".join(f"`{key}`" for key in verified.keys)
        yield f"by the key {keys}, ages measured to {format_time(verified.at_us)}", None
    for finding in report.findings:
        yield finding_told(finding), "red"
    chains = f"{report.records:,} records in {len(report.chains):,} chains"
    if report.never_signed:
        yield (
            f"{chains}: NOT SIGNED: no given key signed any of it, and no node was recorded to sign (KEY_IN_USE)",
            "red",
        )
    elif report.findings:
        yield f"{chains}: something is wrong", "red"
    else:
        yield f"{chains}: whole", None
    statements = f"{report.checkpoints:,} checkpoints, {report.tombstones:,} tombstones"
    if report.unchecked:
        unchecked = ", ".join(f"`{key or 'none'}`" for key in sorted(report.unchecked))
        yield f"{statements}: no key was given, so nobody checked their signatures (keys {unchecked})", None
    else:
        yield statements, None
    if verified.keys:
        yield from _unsigned_lines(report)
    if report.against:
        yield f"{report.against:,} heads kept elsewhere were compared with the chains", None
    if report.beyond_reach:
        yield f"{report.beyond_reach:,} heads kept elsewhere are of records that have been purged since", None
    unchained = sum(each.unchained for each in report.chains)
    if unchained:
        yield f"{unchained:,} records are from before there were chains: nothing proves them", None


def _unsigned_lines(report: VerificationReport) -> Iterator[tuple[str, str | None]]:
    sound = report.sound
    unsigned = sum(each.unsigned for each in sound)
    left_out = len(report.chains) - len(sound)
    more = f", not counting {left_out:,} chains in which something is wrong" if left_out else ""
    yield f"{unsigned:,} records come after the last signature of their chain{more}", "red" if unsigned else None
    keyless = [each for each in sound if each.keyless and each.unsigned]
    if keyless:
        nodes = ", ".join(f"`{node}`" for node in sorted({each.chain.node for each in keyless}))
        count = sum(each.unsigned for each in keyless)
        yield f"{count:,} of them are by nodes that were never recorded to sign (KEY_IN_USE): {nodes}", "red"


def finding_told(finding: AuditFinding) -> str:
    where = f"seq {finding.seq}" if finding.seq else "no place"
    named = "" if finding.id is None else f", record {_id_told(finding.id)}"
    return f"{finding.kind}: {_chain_text(finding.chain)}, {where}{named}: {finding.text}"


def _chain_text(chain: ChainId) -> str:
    if not chain.table:
        return "the database's schema"
    what = "decisions" if chain.table == DECISIONS else "lifecycle records"
    return f"{what} of {_whose(chain.tenant)} by node `{chain.node}`"


def _whose(tenant: str) -> str:
    return f"tenant `{tenant}`" if tenant else "no tenant"


def _id_told(id_: Any) -> str:
    return format_id(id_) if isinstance(id_, bytes) and len(id_) == _ID_BYTES else repr(id_)


def finding_json(finding: AuditFinding) -> dict[str, Any]:
    id_ = "" if finding.id is None else _id_told(finding.id)
    return {
        **finding.chain._asdict(),
        "kind": finding.kind.value,
        "seq": finding.seq,
        "id": id_,
        "message": finding.text,
    }


def report_json(report: VerificationReport, verified: Verified) -> dict[str, Any]:
    return {
        "verified": {**verified._asdict(), "tenant": verified.tenant or ""},
        "whole": report.is_whole,
        "never_signed": report.never_signed,
        "records": report.records,
        "findings": [finding_json(each) for each in report.findings],
        "chains": [
            {
                **each.chain._asdict(),
                "after": each.after,
                "upto": each.upto,
                "signed_upto": each.signed_upto,
                "unchained": each.unchained,
                "keyless": each.keyless,
            }
            for each in report.chains
        ],
        "checkpoints": report.checkpoints,
        "tombstones": report.tombstones,
        "unchecked": sorted(report.unchecked),
        "against": report.against,
        "beyond_reach": report.beyond_reach,
    }
