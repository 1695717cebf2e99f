"""`remit callers replay`: recorded calls that the rows of `_callers` would refuse."""

from pathlib import Path

import typer

from remit.cli.audit.options import STORE_DEFAULT, SinceOption, StoreOption, time_text
from remit.cli.callers.usage import callers_policy, left_out, tell_left_out, tenants_in, usage_in
from remit.cli.common.as_json import JsonOption, plain, print_json
from remit.cli.common.output import Exit, err, fail
from remit.cli.common.policies_option import with_policies
from remit.cli.common.table import print_table
from remit.core.names import CALLERS
from remit.service.caller_usage import AskedRight, Rights, Tally, refused


@with_policies
def replay(
    directory: Path,
    since: SinceOption = None,
    as_json: JsonOption = False,
    audit: StoreOption = STORE_DEFAULT,
) -> None:
    """List recorded calls that the rows of `_callers` would refuse.

    Exits 0 where there is none, 1 where there is one. The settings `operators` and `auditors` are not taken into account.

    Example: `remit callers replay --since 30d`
    """
    policy = callers_policy(directory)
    if policy is None:
        fail(Exit.USAGE, f"`{directory}` has no folder `{CALLERS}`: `remit callers init` writes one")
    usage = usage_in(audit, tenants_in(directory), since)
    found = refused(usage, Rights(policy))
    judged = sum(tally.count for tally in usage.asked.values())
    wrong = sum(usage.asked[asked].count for asked in found)
    if as_json:
        calls = [{**asked._asdict(), **plain(usage.asked[asked])} for asked in found]
        print_json({"refused": calls, "questions": judged, "would_be_refused": wrong, **left_out(usage)})
    elif found:
        rows = [(*_names(asked), *_numbers(usage.asked[asked])) for asked in found]
        print_table(("caller", "tenant", "may not", "times", "first", "last"), rows, numbers={"times"})
    tell_left_out(usage)
    err.print(f"{judged} questions judged: {wrong} would be refused")
    raise typer.Exit(Exit.NO if found else Exit.OK)


def _names(asked: AskedRight) -> tuple[str, str, str]:
    return asked.caller, asked.tenant or "all at once", asked.action


def _numbers(tally: Tally) -> tuple[str, str, str]:
    return str(tally.count), time_text(tally.first_us), time_text(tally.last_us)
