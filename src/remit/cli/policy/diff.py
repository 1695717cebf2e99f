from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated

import typer

from remit.cli.common.as_json import JsonOption, form_of, print_json
from remit.cli.common.help import OUTPUT, WHERE
from remit.cli.common.output import Exit, fail
from remit.cli.common.policies_option import POLICIES_DEFAULT, PoliciesOption
from remit.cli.common.server_options import Connection, given_here, with_connection
from remit.cli.policy import diff_text
from remit.cli.policy.compared import Compared, FailOn, compare_tenants, is_wrong, print_compared
from remit.cli.policy.diff_sources import read_versions
from remit.core.errors import InvalidNameError
from remit.core.names import Tenant, parse_tenant
from remit.engine.diff import Direction, TenantDiff


class DiffFormat(StrEnum):
    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"


@with_connection(60.0)
def diff(
    context: typer.Context,
    old: Annotated[
        str,
        typer.Argument(
            metavar="OLD",
            help="A policy directory, or a git revision of one; with --target a kept revision, by 8 or more digits, or "
            "`serving`.",
        ),
    ],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Another.")],
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.", show_default=False)] = None,
    policies: PoliciesOption = POLICIES_DEFAULT,
    form: Annotated[
        DiffFormat, typer.Option("--format", help="Markdown is for a pull request.", rich_help_panel=OUTPUT)
    ] = DiffFormat.TEXT,
    as_json: JsonOption = False,
    fail_on: Annotated[
        FailOn | None,
        typer.Option(
            help="Exit 1 if a principal, a reach or what may be granted at run time gains, loses, or either.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            metavar="HOST:PORT",
            help="Compare kept revisions of --tenant on this server. REMIT_TARGET does not count here.",
            rich_help_panel=WHERE,
            show_default=False,
        ),
    ] = None,
    *,
    connection: Connection,
) -> None:
    """Show which decisions change from OLD to NEW: who gains what where, and who loses what where.

    Covers all principals, permissions, relations and namespaces, because it compares patterns: whatever it does not
    print does not change. More that may be granted at run time (`runtime` in tenant.yaml), or that such a grant gives, is
    a gain; less is a loss. Reads git revisions without a checkout; `REVISION:DIR` names the directory too.

    Example: `remit diff HEAD~1 policies/`
    """
    form = form_of(form, as_json, text=DiffFormat.TEXT, json_=DiffFormat.JSON)
    only = _tenant(tenant)
    if target is not None and given_here(context, "target"):
        # Files are compared without what a client needs.
        from remit.cli.policy.diff_server import compared_by_server  # noqa: PLC0415

        old, new, found = compared_by_server(connection, target, only, old, new)
        _print(form, old, new, [found], [])
        raise typer.Exit(Exit.NO if is_wrong([found], fail_on) else Exit.OK)
    before, after = read_versions(old, new, policies)
    tenants = sorted({*before.tree.tenants, *after.tree.tenants})
    if only is not None and only not in tenants:
        fail(Exit.USAGE, f"no tenant `{only}` in `{old}` or `{new}`")
    wanted = [each for each in tenants if only in {None, each}]
    compared, refused = compare_tenants(wanted, before, after)
    _print(form, old, new, compared, refused)
    if refused:
        fail(Exit.UNAVAILABLE, f"not compared: {', '.join(refused)}")
    raise typer.Exit(Exit.NO if is_wrong(compared, fail_on) else Exit.OK)


def _print(form: DiffFormat, old: str, new: str, compared: Sequence[Compared], refused: Sequence[Tenant]) -> None:
    match form:
        case DiffFormat.TEXT:
            print_compared(compared)
        case DiffFormat.MARKDOWN:
            typer.echo("\n".join(_markdown(old, new, compared, refused)))
        case DiffFormat.JSON:
            documents = [diff_text.as_json(one.found) for one in compared]
            print_json({"old": old, "new": new, "tenants": documents, "not_compared": refused})


def _tenant(text: str | None) -> Tenant | None:
    try:
        return None if text is None else parse_tenant(text)
    except InvalidNameError as error:
        fail(Exit.USAGE, str(error))


def _markdown(old: str, new: str, compared: Sequence[Compared], refused: Sequence[Tenant]) -> Iterator[str]:
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
    for opened in found.runtime:
        if opened.direction is direction:
            yield f"- {diff_text.runtime_sentence(opened, actions, diff_text.code)}"
