"""Compares two versions of a policy tree tenant by tenant, for `remit diff` and `remit publish`."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from remit.cli.common.output import err, out
from remit.cli.policy import diff_text
from remit.cli.policy.diff_sources import Version
from remit.core.names import Tenant
from remit.engine.decision_diagram import TooManyDiagramsError
from remit.engine.diff import Direction, TenantDiff
from remit.engine.diff import diff as compare
from remit.engine.snapshot import Snapshot


class FailOn(StrEnum):
    GAIN = "gain"
    LOSS = "loss"
    ANY = "any"


class Compared(NamedTuple):
    found: TenantDiff
    actions: dict[Direction, diff_text.Permissions]
    """A gain uses the words of the new vocabulary, a loss the words of the old vocabulary."""


def compare_tenants(wanted: Iterable[Tenant], before: Version, after: Version) -> tuple[list[Compared], list[Tenant]]:
    """The differences of these tenants, and the tenants that could not be compared: why is printed already."""
    compared: list[Compared] = []
    refused: list[Tenant] = []
    for each in wanted:
        try:
            one = _compared(each, before, after)
        except TooManyDiagramsError as error:
            err.print(f"{each}: {error}")
            one = None
        if one is None:
            refused.append(each)
        else:
            compared.append(one)
    return compared, refused


def is_wrong(compared: Sequence[Compared], fail_on: FailOn | None) -> bool:
    """Whether there is a change of the kind that must not be."""
    directions = {direction.value for one in compared for direction in one.found.directions}
    return bool(directions if fail_on is FailOn.ANY else directions & {fail_on})


def _compared(tenant: Tenant, before: Version, after: Version) -> Compared | None:
    """Compares two versions of a tenant. None if one of them does not load: its diagnostics are printed already."""
    if all(tenant in version.tree.tenants for version in (before, after)) and (
        before.tree.revision(tenant) == after.tree.revision(tenant)
    ):
        return Compared(TenantDiff(tenant), {})
    (old, old_is_well), (new, new_is_well) = before.snapshot(tenant), after.snapshot(tenant)
    if not (old_is_well and new_is_well):
        return None
    return Compared(compare(tenant, old, new), {Direction.GAIN: _actions(new), Direction.LOSS: _actions(old)})


def _actions(snapshot: Snapshot | None) -> diff_text.Permissions:
    return diff_text.actions_of(snapshot.policy.vocabulary if snapshot is not None else None)


def print_compared(compared: Sequence[Compared]) -> None:
    for found, actions in compared:
        out.print(f"{found.tenant}: {diff_text.summary(found)}")
        for change in found.access:
            sign, style = _sign(change.direction)
            sentence = diff_text.access_sentence(change, actions[change.direction])
            out.print(f"  {sign} {sentence}", style=style)
            if names := diff_text.listed(change.principals):
                out.print(f"    {names}")
        for reached in found.reach:
            sign, style = _sign(reached.direction)
            out.print(f"  {sign} {diff_text.reach_sentence(reached)}", style=style)
        for opened in found.runtime:
            sign, style = _sign(opened.direction)
            out.print(f"  {sign} {diff_text.runtime_sentence(opened, actions[opened.direction])}", style=style)
        for served in found.dedicated:
            out.print(f"  = {diff_text.dedicated_sentence(served)}")


def _sign(direction: Direction) -> tuple[str, str]:
    return ("+", "green") if direction is Direction.GAIN else ("-", "red")
