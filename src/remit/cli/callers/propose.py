"""`remit callers propose`: rows of `_callers` for what callers asked."""

from pathlib import Path

from remit.cli.audit.options import STORE_DEFAULT, SinceOption, StoreOption
from remit.cli.callers.usage import callers_policy, tell_left_out, tenants_in, usage_in
from remit.cli.common.output import err, out
from remit.cli.common.policies_option import with_policies
from remit.service.caller_proposals import Proposal
from remit.service.caller_proposals import propose as proposals_for
from remit.service.caller_usage import AskedRight, CallerUsage
from remit.service.callers_starter import starter_policy


@with_policies
def propose(
    directory: Path,
    since: SinceOption = None,
    audit: StoreOption = STORE_DEFAULT,
) -> None:
    """Print rows for `_callers/bindings.csv` that allow what callers asked, by the records of the audit.

    For each caller and tenant the fewest roles that cover it, beyond what the rows of `_callers` already give; without
    that folder, the roles are those of `remit callers init`. Read each row before you add it: a caller that asked
    something is not proof that it should.

    Example: `remit callers propose --since 30d >> policies/_callers/bindings.csv`
    """
    tenants = tenants_in(directory)
    policy = callers_policy(directory) or starter_policy()
    usage = usage_in(audit, tenants, since)
    proposals = proposals_for(policy, usage, tenants)
    for each in proposals.found:
        out.print(f"# {_comment(each, usage)}")
        for row in each.rows:
            out.print(row)
    for asked, rule, place in proposals.denied:
        about = asked.tenant or "all tenants"
        err.print(f"no row allows `{asked.caller}` to {asked.action} in {about}: {place} denies it: `{rule}`")
    tell_left_out(usage)
    rows = sum(len(each.rows) for each in proposals.found)
    err.print(f"{rows} row{'s' if rows != 1 else ''} proposed, {proposals.granted} rights are given already")


def _comment(proposal: Proposal, usage: CallerUsage) -> str:
    counts = (
        (action, usage.asked[AskedRight(proposal.caller, proposal.tenant, action)].count) for action in proposal.used
    )
    asked = ", ".join(f"{action} {count}" for action, count in counts)
    more = f"; this also gives {', '.join(proposal.more)}" if proposal.more else ""
    return f"asked about {proposal.tenant or 'all tenants at once'}: {asked}{more}"
