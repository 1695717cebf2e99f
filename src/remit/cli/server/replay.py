from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import chain
from typing import Annotated

import typer
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from remit.audit.ids import format_id
from remit.audit.query.filter import DecisionFilter
from remit.audit.record import DecisionRecord
from remit.cli.audit.options import STORE_DEFAULT, SinceOption, StoreOption, UntilOption
from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.open_store import opened
from remit.cli.common.output import Exit, err, fail, styled
from remit.cli.common.policies_option import POLICIES_DEFAULT, PoliciesOption
from remit.cli.common.policy_files import read_files
from remit.cli.common.progress import progress
from remit.cli.common.table import Cell, print_table
from remit.clock import now_us
from remit.policy.load import DEFAULT_LIMITS
from remit.service.history import stored_archive
from remit.service.shadow.past_rows import PastRows
from remit.service.shadow.replay import Replay, ReplayedChange

_SHOWN = 50


def replay(
    policies: PoliciesOption = POLICIES_DEFAULT,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's records.", show_default=False)] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    as_json: JsonOption = False,
    audit: StoreOption = STORE_DEFAULT,
) -> None:
    """Decide recorded decisions again by these policies, and list what would change.

    Records nothing, and does not run the candidate's tests. Exits 0 if no effect would change, otherwise 1.

    Example: `remit replay --policies candidate --since 7d`
    """
    loaded = read_files(policies, tested=False).tenants
    refused = [name for name, each in loaded.items() if each.snapshot is None and tenant in {None, name}]
    if refused:
        fail(
            Exit.UNAVAILABLE, f"no candidate: {', '.join(refused)} of `{policies}` does not load; see `remit validate`"
        )
    columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed}"), TimeElapsedColumn())
    with opened(audit) as store, progress(*columns) as shown:
        # Without an end, a replay beside a server that goes on writing would never finish.
        until = now_us() if until is None else until
        rows = PastRows(partial(stored_archive, store, limits=DEFAULT_LIMITS), DEFAULT_LIMITS)
        candidate = Replay({name: each.snapshot for name, each in loaded.items()}, rows)
        where = DecisionFilter(tenant=tenant, since_us=since, until_us=until)
        records: Iterable[DecisionRecord] = store.all_decisions(where)
        if tenant is not None:
            # Add the records of the time before the tenant was configured: they have no tenant.
            unknown = store.all_decisions(replace(where, tenant=""))
            records = chain(records, (each for each in unknown if each.asked_tenant == tenant))
        candidate.run(shown.track(records, description="records"))
    total = candidate.total
    if tenant is not None and tenant not in loaded and not total.decided + total.skipped + total.rows_unknown:
        fail(Exit.USAGE, f"no tenant `{tenant}` in `{policies}`, and no record of one")
    changes = candidate.changes
    if as_json:
        print_json({"changes": map(change_json, changes), **asdict(total), "redacted": candidate.redacted})
    elif changes:
        print_changes(changes[:_SHOWN])
        if len(changes) > _SHOWN:
            err.print(f"... and {len(changes) - _SHOWN} more: --json lists all")
    skipped = f", {total.skipped} lists left out" if total.skipped else ""
    if total.rows_unknown:
        skipped += f", {total.rows_unknown} left out whose rows of run time are not known"
    if candidate.redacted:
        skipped += f", {candidate.redacted} left out whose principal is redacted"
    err.print(
        f"{total.decided} decisions decided again{skipped}: {total.differing} would change, {len(changes)} questions"
    )
    raise typer.Exit(Exit.NO if changes else Exit.OK)


def change_json(change: ReplayedChange) -> dict[str, object]:
    return {
        "tenant": change.tenant,
        "principal": change.principal,
        "action": change.action,
        "kind": change.kind,
        "namespace": change.namespace,
        "was": {"effect": change.was[0], "reason": change.was[1]},
        "now": {"effect": change.now[0], "reason": change.now[1], "rule": change.rule},
        "records": change.records,
        "last_decision_id": format_id(change.last),
    }


def print_changes(changes: Sequence[ReplayedChange]) -> None:
    rows: list[Sequence[Cell]] = []
    for each in changes:
        colour = "green" if each.gains else "red"
        question = f"{each.action} {each.kind}".rstrip()
        now = styled((each.now[0], colour), " ", each.now[1])
        cells = (each.tenant, each.namespace, each.principal, question, " ".join(each.was), now, each.rule)
        rows.append((*cells, str(each.records)))
    names = ("tenant", "namespace", "principal", "question", "was", "would be", "rule", "records")
    print_table(names, rows, numbers={"records"})
