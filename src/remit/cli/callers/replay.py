"""`remit callers replay`: recorded calls that the rows of `_callers` would refuse."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.table import Column, Table

from remit.cli.audit.options import STORE_DEFAULT, SinceOption, StoreOption, time_text
from remit.cli.callers.usage import callers_policy, tell_left_out, tenants_in, usage_in
from remit.cli.common.output import Exit, err, fail, out
from remit.cli.common.policies_option import with_policies
from remit.core.names import CALLERS
from remit.service.caller_usage import Rights, refused


@with_policies
def replay(
    directory: Path,
    since: SinceOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
    audit: StoreOption = STORE_DEFAULT,
) -> None:
    """List recorded calls that the rows of `_callers` would refuse.

    Exits 0 where there is none, 1 where there is one. The settings `operators` and `auditors` are not taken into account.

    Example: `remit callers replay --since 30d`
    """
    tenants = tenants_in(directory)
    policy = callers_policy(directory)
    if policy is None:
        fail(Exit.USAGE, f"`{directory}` has no folder `{CALLERS}`: `remit callers init` writes one")
    usage = usage_in(audit, tenants, since)
    found = refused(usage, Rights(policy, tenants))
    table = Table(
        *(Column(name, overflow="fold") for name in ("caller", "tenant", "may not")),
        Column("times", justify="right"),
        *("first", "last"),
        box=SIMPLE,
    )
    for asked in found:
        tally = usage.asked[asked]
        first, last = time_text(tally.first_us), time_text(tally.last_us)
        if as_json:
            plain = {"caller": asked.caller, "tenant": asked.tenant, "action": asked.action.value}
            typer.echo(json.dumps({**plain, "count": tally.count, "first": first, "last": last}))
        else:
            about = asked.tenant or "all at once"
            table.add_row(asked.caller, about, asked.action, str(tally.count), first, last)
    if found and not as_json:
        out.print(table)
    tell_left_out(usage)
    judged = sum(tally.count for tally in usage.asked.values())
    wrong = sum(usage.asked[asked].count for asked in found)
    err.print(f"{judged} questions judged: {wrong} would be refused")
    raise typer.Exit(Exit.NO if found else Exit.OK)
