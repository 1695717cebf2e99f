"""What the commands over recorded calls share: they read the files and the audit, and say what they cannot judge."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from remit.cli.audit.options import time_text
from remit.cli.common.as_json import plain
from remit.cli.common.open_store import opened
from remit.cli.common.output import Exit, err, fail
from remit.cli.common.policy_files import loading, read_snapshot
from remit.clock import now_us
from remit.core.names import CALLERS, INSTANCE
from remit.core.policy import Policy
from remit.policy.load import DEFAULT_LIMITS
from remit.policy.read.tree import read_tree
from remit.service.caller_usage import CallerUsage, Tally, read_usage
from remit.service.callers import ANONYMOUS

_SHOWN = 20


def tenants_in(directory: Path) -> list[str]:
    """The tenants of a policy directory. Ends the command if there is none to read."""
    with loading(directory, Exit.UNAVAILABLE):
        names = read_tree(directory, DEFAULT_LIMITS).tenants
    return [name for name in names if name not in {INSTANCE, CALLERS}]


def callers_policy(directory: Path) -> Policy | None:
    """The policy of `_callers`; None if there is no such folder. Ends the command if it does not load."""
    snapshot = read_snapshot(directory, CALLERS)
    return None if snapshot is None else snapshot.policy


def usage_in(audit: str, tenants: Collection[str], since: int | None) -> CallerUsage:
    """What callers asked up to now. Ends the command if there is no store, or no record in it."""
    with opened(audit) as store:
        usage = read_usage(store, tenants, since, now_us())
    if not (usage.asked or usage.no_principals or usage.unknown_tenants):
        fail(Exit.UNAVAILABLE, "the audit holds no record of that time")
    return usage


def left_out(usage: CallerUsage) -> dict[str, Any]:
    """As JSON: the records that tell of nobody or of nothing that a row could name."""

    def tallies(of_callers: Mapping[str, Tally]) -> list[dict[str, Any]]:
        return [{"caller": caller, **plain(tally)} for caller, tally in sorted(of_callers.items())]

    return {
        "no_principals": tallies(usage.no_principals),
        "unknown_tenants": tallies(usage.unknown_tenants),
        "unrecorded": usage.unrecorded,
    }


def tell_left_out(usage: CallerUsage) -> None:
    """Says on standard error which records tell of nobody or of nothing that a row could name."""
    for caller, tally in _first(usage.no_principals):
        why = (
            "asked without TLS, and has no name"
            if caller == ANONYMOUS.principal
            else "is no principal: the record is from before callers were principals, or redacted"
        )
        err.print(f"left out: `{caller}` {why} ({span_text(tally)})", markup=False)
    for caller, tally in _first(usage.unknown_tenants):
        err.print(f"left out: `{caller}` asked about tenants without a folder ({span_text(tally)})", markup=False)
    if usage.unrecorded:
        err.print(f"{usage.unrecorded} decisions were sampled out: the audit does not say what they asked")
    err.print("calls that need STATUS or WATCH alone leave no record")


def _first(tallies: Mapping[str, Tally]) -> list[tuple[str, Tally]]:
    if len(tallies) > _SHOWN:
        err.print(f"{len(tallies)} callers are left out, of which these are {_SHOWN}:")
    return sorted(tallies.items())[:_SHOWN]


def span_text(tally: Tally) -> str:
    times = f"{tally.count} time{'s' if tally.count > 1 else ''}"
    return f"{times}, {time_text(tally.first_us)} to {time_text(tally.last_us)}"
