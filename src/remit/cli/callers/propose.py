"""`remit callers propose`: rows of `_callers` for what callers asked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from remit.cli.audit.options import STORE_DEFAULT, SinceOption, StoreOption
from remit.cli.callers.usage import callers_policy, left_out, tell_left_out, tenants_in, usage_in
from remit.cli.common.as_json import JsonOption, plain, print_json
from remit.cli.common.output import err, out
from remit.cli.common.policies_option import with_policies
from remit.core.caller_actions import CallerAction
from remit.service.caller_proposals import Proposal
from remit.service.caller_proposals import propose as proposals_for
from remit.service.caller_usage import AskedRight, CallerUsage
from remit.service.callers_starter import starter_policy


@with_policies
def propose(
    directory: Path,
    since: SinceOption = None,
    as_json: JsonOption = False,
    audit: StoreOption = STORE_DEFAULT,
) -> None:
    """Print rows for `_callers/bindings.csv` that allow what callers asked, by the records of the audit.

    For each caller and tenant the fewest roles that cover it, beyond what the rows of `_callers` already give; without
    that folder, the roles are those of `remit callers init`. Read each row before you add it: a caller that asked
    something is not proof that it should.

    Example: `remit callers propose --since 30d >> policies/_callers/bindings.csv`
    """
    policy = callers_policy(directory) or starter_policy()
    usage = usage_in(audit, tenants_in(directory), since)
    proposals = proposals_for(policy, usage)
    if as_json:
        print_json(
            {
                "proposals": [_plain(each, usage) for each in proposals.found],
                "denied": [{**plain(asked), "row": rule, "place": place} for asked, rule, place in proposals.denied],
                "granted": proposals.granted,
                **left_out(usage),
            }
        )
    for each in () if as_json else proposals.found:
        out.print(f"# {_comment(each, usage)}")
        for row in each.rows:
            out.print(row)
    for asked, rule, place in proposals.denied:
        about = asked.tenant or "all tenants"
        err.print(f"no row allows `{asked.caller}` to {asked.action} in {about}: {place} denies it: `{rule}`")
    tell_left_out(usage)
    rows = sum(len(each.rows) for each in proposals.found)
    err.print(f"{rows} row{'s' if rows != 1 else ''} proposed, {proposals.granted} rights are given already")


def _counts(proposal: Proposal, usage: CallerUsage) -> Iterator[tuple[CallerAction, int]]:
    for action in proposal.used:
        yield action, usage.asked[AskedRight(proposal.caller, proposal.tenant, action)].count


def _plain(proposal: Proposal, usage: CallerUsage) -> dict[str, Any]:
    asked = [{"action": action, "count": count} for action, count in _counts(proposal, usage)]
    about = {"caller": proposal.caller, "tenant": proposal.tenant}
    return {**about, "rows": proposal.rows, "asked": asked, "also_given": proposal.more}


def _comment(proposal: Proposal, usage: CallerUsage) -> str:
    asked = ", ".join(f"{action} {count}" for action, count in _counts(proposal, usage))
    more = f"; this also gives {', '.join(proposal.more)}" if proposal.more else ""
    return f"asked about {proposal.tenant or 'all tenants at once'}: {asked}{more}"
