from collections.abc import Sequence
from typing import Annotated, Final

import typer

from remit.cli.audit.options import moment
from remit.cli.common.as_json import JsonOption, plain, print_json
from remit.cli.common.output import Exit, fail, out
from remit.cli.common.server_options import DEFAULT_SERVER, Connection, ServerOption, with_connection
from remit.client import DecisionUnavailable, RuntimeBinding
from remit.clock import now_us, utc_text
from remit.core.ages import parse_age

EXITS: Final = {
    "INVALID_ARGUMENT": Exit.USAGE,
    "PERMISSION_DENIED": Exit.NO,
    "ABORTED": Exit.NO,
    "FAILED_PRECONDITION": Exit.NO,
}
_US: Final = 1_000_000
TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="A tenant of the server.")]
MemberArgument = Annotated[str, typer.Argument(metavar="MEMBER", help="A user, a service or a group, as `user:ann`.")]
HoldsArgument = Annotated[str, typer.Argument(metavar="HOLDS", help="A group or a role, as `role:viewer`.")]
ScopeArgument = Annotated[
    str, typer.Argument(metavar="SCOPE", help="A namespace pattern. Default: the whole tenant.", show_default=False)
]
GranterOption = Annotated[
    str,
    typer.Option(
        "--by", metavar="PRINCIPAL", help="Whose rights the change needs. Default: the caller.", show_default=False
    ),
]
ReasonOption = Annotated[str, typer.Option("--reason", metavar="WHY", help="Kept with the change.", show_default=False)]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show who would gain and lose what, and change nothing.")]


@with_connection(10.0)
def grant(
    tenant: TenantArgument,
    member: MemberArgument,
    holds: HoldsArgument,
    scope: ScopeArgument = "",
    ends: Annotated[
        str, typer.Option("--for", metavar="TIME", help="Until the row ends, as `8h` or `30d`.", show_default=False)
    ] = "",
    until: Annotated[
        str,
        typer.Option(
            "--until", metavar="TIME", help="When the row ends: ISO 8601, UTC if it names no zone.", show_default=False
        ),
    ] = "",
    by: GranterOption = "",
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    target: ServerOption = DEFAULT_SERVER,
    *,
    connection: Connection,
) -> None:
    """Put somebody into a group, or give them a role, at run time.

    The tenant's files say what may be granted so (`runtime` in tenant.yaml). The granter must be allowed to, and nobody may
    gain what the granter does not hold. Prints when the row ends, and the position from which on it serves, for `--at-least`.

    Example: `remit grant acme user:zoe role:viewer acme.finance.** --for 8h --by user:alice --dry-run`
    """
    row = RuntimeBinding(member, holds, scope, _end(ends, until))
    _change(connection, target, tenant, [row], [], by, reason, dry_run=dry_run, as_json=as_json)


@with_connection(10.0)
def revoke(
    tenant: TenantArgument,
    member: MemberArgument,
    holds: HoldsArgument,
    scope: ScopeArgument = "",
    by: GranterOption = "",
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    target: ServerOption = DEFAULT_SERVER,
    *,
    connection: Connection,
) -> None:
    """Take back what was granted at run time.

    A row of the files is taken away by an edit: the error names its line.

    Example: `remit revoke acme user:zoe role:viewer acme.finance.** --by user:alice`
    """
    row = RuntimeBinding(member, holds, scope)
    _change(connection, target, tenant, [], [row], by, reason, dry_run=dry_run, as_json=as_json)


def _end(ends: str, until: str) -> int:
    if ends and until:
        fail(Exit.USAGE, "--for and --until both say when the row ends: name one")
    if until:
        return moment(until)
    age_s = parse_age(ends) if ends else None
    if ends and age_s is None:
        raise typer.BadParameter(f"`{ends}`: expected a time such as `90m`, `8h` or `30d`")
    return now_us() + age_s * _US if age_s is not None else 0


def _change(
    connection: Connection,
    target: str,
    tenant: str,
    grants: Sequence[RuntimeBinding],
    revokes: Sequence[RuntimeBinding],
    by: str,
    reason: str,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    try:
        with connection.client(target) as client:
            response = client.tenant(tenant).change_bindings(
                grants, revokes, granter=by, reason=reason, dry_run=dry_run
            )
    except DecisionUnavailable as error:
        fail(EXITS.get(error.code, Exit.UNAVAILABLE), str(error))
    if as_json:
        print_json(plain(response))
        return
    if response.note:
        out.print(f"note: {response.note}")
    for each in response.effects:
        sign, verb = ("+", "gain") if each.direction == "gain" else ("-", "lose")
        verb += "s" if len(each.principals) == 1 else ""
        where = [*each.namespaces, *(["the tenant itself"] if each.tenant_itself else [])]
        out.print(f"{sign} {', '.join(each.principals)} {verb} {', '.join(each.permissions)} in {', '.join(where)}")
    if response.already:
        out.print("it is so already: nothing changes" if grants else "it is not granted: nothing changes")
    elif dry_run:
        out.print(
            "nothing is changed: it would be allowed" if response.effects else "nobody would gain or lose anything"
        )
    else:
        ends = "".join(f" until {utc_text(each.expires_us)}" for each in grants if each.expires_us)
        out.print(f"{'granted' if grants else 'revoked'}{ends}, from position {response.position} on")
