from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated, NamedTuple

import typer

from remit.cli.common.as_json import JsonOption, form_of, print_json
from remit.cli.common.help import OUTPUT
from remit.cli.common.output import Exit, err, fail, out
from remit.cli.common.policies_option import POLICIES_DEFAULT, PoliciesOption
from remit.cli.policy import diff_text
from remit.cli.policy.diff_sources import Version, read_versions
from remit.core.errors import InvalidNameError
from remit.core.names import Tenant, parse_tenant
from remit.engine.decision_diagram import TooManyDiagramsError
from remit.engine.diff import Direction, TenantDiff
from remit.engine.diff import diff as compare
from remit.engine.snapshot import Snapshot


class DiffFormat(StrEnum):
    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"


class FailOn(StrEnum):
    GAIN = "gain"
    LOSS = "loss"
    ANY = "any"


class _Compared(NamedTuple):
    found: TenantDiff
    actions: dict[Direction, diff_text.Permissions]
    """A gain uses the words of the new vocabulary, a loss the words of the old vocabulary."""


def diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help="A policy directory, or a git revision of one.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Another.")],
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.", show_default=False)] = None,
    policies: PoliciesOption = POLICIES_DEFAULT,
    form: Annotated[
        DiffFormat, typer.Option("--format", help="Markdown is for a pull request.", rich_help_panel=OUTPUT)
    ] = DiffFormat.TEXT,
    as_json: JsonOption = False,
    fail_on: Annotated[
        FailOn | None,
        typer.Option(help="Exit 1 if a principal or a reach gains, loses, or either.", show_default=False),
    ] = None,
) -> None:
    """Show which decisions change from OLD to NEW: who gains what where, and who loses what where.

    Covers all principals, permissions, relations and namespaces, because it compares patterns: whatever it does not
    print does not change. Reads git revisions without a checkout; `REVISION:DIR` names the directory too.

    Example: `remit diff HEAD~1 policies/`
    """
    form = form_of(form, as_json, text=DiffFormat.TEXT, json_=DiffFormat.JSON)
    only = _tenant(tenant)
    before, after = read_versions(old, new, policies)
    tenants = sorted({*before.tree.tenants, *after.tree.tenants})
    if only is not None and only not in tenants:
        fail(Exit.USAGE, f"no tenant `{only}` in `{old}` or `{new}`")
    wanted = [each for each in tenants if only in {None, each}]
    compared: list[_Compared] = []
    refused = []
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
    match form:
        case DiffFormat.TEXT:
            _print_text(compared)
        case DiffFormat.MARKDOWN:
            typer.echo("\n".join(_markdown(old, new, compared, refused)))
        case DiffFormat.JSON:
            documents = [diff_text.as_json(one.found) for one in compared]
            print_json({"old": old, "new": new, "tenants": documents, "not_compared": refused})
    if refused:
        fail(Exit.UNAVAILABLE, f"not compared: {', '.join(refused)}")
    directions = {direction for one in compared for direction in one.found.directions}
    wrong = directions if fail_on is FailOn.ANY else directions & {fail_on}
    raise typer.Exit(Exit.NO if wrong else Exit.OK)


def _tenant(text: str | None) -> Tenant | None:
    try:
        return None if text is None else parse_tenant(text)
    except InvalidNameError as error:
        fail(Exit.USAGE, str(error))


def _compared(tenant: Tenant, before: Version, after: Version) -> _Compared | None:
    """Compares two versions of a tenant. None if one of them does not load: its diagnostics are printed already."""
    if all(tenant in version.tree.tenants for version in (before, after)) and (
        before.tree.revision(tenant) == after.tree.revision(tenant)
    ):
        return _Compared(TenantDiff(tenant), {})
    (old, old_is_well), (new, new_is_well) = before.snapshot(tenant), after.snapshot(tenant)
    if not (old_is_well and new_is_well):
        return None
    return _Compared(compare(tenant, old, new), {Direction.GAIN: _actions(new), Direction.LOSS: _actions(old)})


def _actions(snapshot: Snapshot | None) -> diff_text.Permissions:
    return diff_text.actions_of(snapshot.policy.vocabulary if snapshot is not None else None)


def _print_text(compared: Sequence[_Compared]) -> None:
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
        for served in found.dedicated:
            out.print(f"  = {diff_text.dedicated_sentence(served)}")


def _sign(direction: Direction) -> tuple[str, str]:
    return ("+", "green") if direction is Direction.GAIN else ("-", "red")


def _markdown(old: str, new: str, compared: Sequence[_Compared], refused: Sequence[Tenant]) -> Iterator[str]:
    yield f"## Decisions that change from {diff_text.code(old)} to {diff_text.code(new)}"
    for tenant in refused:
        yield f"\n### {diff_text.code(tenant)}\n\n**Not compared**: see the output of the command."
    for found, actions in compared:
        if found == TenantDiff(found.tenant):
            continue
        yield f"\n### {diff_text.code(found.tenant)}\n\n{diff_text.summary(found)}"
        for direction, title in ((Direction.GAIN, "Gains"), (Direction.LOSS, "Losses")):
            lines = list(_bullets(found, direction, actions[direction]))
            if lines:
                yield f"\n**{title}**\n"
                yield from lines
        if found.dedicated:
            yield "\n**Dedicated resources**\n"
            yield from (f"- {diff_text.dedicated_sentence(served, diff_text.code)}" for served in found.dedicated)
    if not refused and all(found == TenantDiff(found.tenant) for found, _ in compared):
        yield "\nNothing changes."


def _bullets(found: TenantDiff, direction: Direction, actions: diff_text.Permissions) -> Iterator[str]:
    for change in found.access:
        if change.direction is direction:
            yield f"- {diff_text.access_sentence(change, actions, diff_text.code)}"
            if names := diff_text.listed(change.principals, diff_text.code):
                yield f"  <details><summary>who</summary>\n\n  {names}\n\n  </details>"
    for reached in found.reach:
        if reached.direction is direction:
            yield f"- {diff_text.reach_sentence(reached, diff_text.code)}"
