from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from remit.cli.common.as_json import JsonOption, plain, print_json
from remit.cli.common.output import Exit, fail, out
from remit.cli.common.server_options import DEFAULT_SERVER, Connection, ServerOption, with_connection
from remit.cli.common.table import print_table
from remit.cli.fleet.grant import EXITS, GranterOption, ReasonOption, TenantArgument
from remit.client import Client, DecisionUnavailable, GrantedBinding, RuntimeBinding
from remit.clock import utc_text
from remit.core.errors import MalformedQuestionError
from remit.core.runtime import parse_runtime_row
from remit.policy.read.csv import Row, rows

_SHOWN = 5


@contextmanager
def asking(connection: Connection, target: str) -> Iterator[Client]:
    """A client. Ends the command if there is no answer."""
    try:
        with connection.client(target) as client:
            yield client
    except DecisionUnavailable as error:
        fail(EXITS.get(error.code, Exit.UNAVAILABLE), str(error))


@with_connection(10.0)
def list_rows(
    tenant: TenantArgument,
    member: Annotated[str, typer.Option(metavar="MEMBER", help="Only rows of this member.", show_default=False)] = "",
    holds: Annotated[
        str, typer.Option(metavar="HOLDS", help="Only rows to this group or role.", show_default=False)
    ] = "",
    as_json: JsonOption = False,
    target: ServerOption = DEFAULT_SERVER,
    *,
    connection: Connection,
) -> None:
    """List what was granted at run time and is in force.

    A release whose files have such a row adopts it: it is then a row of the files alone.

    Example: `remit bindings list acme`
    """
    with asking(connection, target) as client:
        found = list(client.tenant(tenant).list_bindings(member, holds))
    if as_json:
        print_json({"rows": found})
    elif not found:
        out.print(f"nothing is granted at run time in `{tenant}`")
    else:
        cells = [
            (
                each.row.member,
                each.row.holds,
                each.row.scope,
                utc_text(each.row.expires_us) if each.row.expires_us else "",
                str(each.change),
            )
            for each in found
        ]
        print_table(("member", "holds", "scope", "ends", "change"), cells, numbers=("change",))


@with_connection(600.0)
def import_file(
    tenant: TenantArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Rows as in bindings.csv.", dir_okay=False)],
    by: GranterOption = "",
    reason: ReasonOption = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Revoke every other row of run time of the tenant.")
    ] = False,
    request_id: Annotated[
        str,
        typer.Option(
            "--request-id", metavar="NAME", help="A second import of this name changes nothing.", show_default=False
        ),
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Pass all checks, and change nothing.")] = False,
    as_json: JsonOption = False,
    target: ServerOption = DEFAULT_SERVER,
    *,
    connection: Connection,
) -> None:
    """Grant all rows of a file as one change, or none of them.

    The file has up to 1,000,000 g rows of one tenant. Every gate of `remit grant` stands before it.

    Example: `remit bindings import acme grants.csv --by user:alice --reason "the new team" --dry-run`
    """
    found = read_file(tenant, file)
    with asking(connection, target) as client:
        done = client.tenant(tenant).import_bindings(
            found,
            granter=by,
            reason=reason,
            replace=replace,
            request_id=request_id,
            dry_run=dry_run,
            timeout_s=connection.timeout,
        )
    if as_json:
        print_json(plain(done))
    elif done.repeated_request:
        out.print(f"an earlier import of this name made the change, at position {done.position}")
    else:
        counts = f"{done.granted:,} granted, {done.revoked:,} revoked, {done.already:,} so already"
        out.print(f"{counts}: nothing is changed" if dry_run else f"{counts}, from position {done.position} on")


@with_connection(600.0)
def export_file(
    tenant: TenantArgument,
    as_json: JsonOption = False,
    target: ServerOption = DEFAULT_SERVER,
    *,
    connection: Connection,
) -> None:
    """Print what was granted at run time as sorted rows of bindings.csv, for a pull request.

    A comment above each row says who granted it, when and why. A row with an end has no place in a file, so it is a comment
    itself.

    Example: `remit bindings export acme`
    """
    with asking(connection, target) as client:
        found = client.tenant(tenant).export_bindings()
        if as_json:
            print_json({"rows": [_document(each) for each in found]})
            return
        for text, each in sorted((csv_row(tenant, each.row), each) for each in found):
            typer.echo(f"# {about(each)}")
            end = each.row.expires_us
            typer.echo(f"# {text} ends {utc_text(end)}" if end else text)


def csv_row(tenant: str, row: RuntimeBinding) -> str:
    return f"g, {row.member}, {row.holds}, {tenant}{f'/{row.scope}' if row.scope else ''}"


def about(granted: GrantedBinding) -> str:
    """Who granted a row, when and why."""
    granter = f" for {granted.granter}" if granted.granter not in {"", granted.caller} else ""
    why = f": {granted.reason}" if granted.reason else ""
    return f"granted by change {granted.change}, {utc_text(granted.time_us)}, {granted.caller}{granter}{why}"


def read_file(tenant: str, file: Path) -> list[RuntimeBinding]:
    """Ends the command, with the first lines that are wrong, unless all are g rows of the tenant."""
    found: list[RuntimeBinding] = []
    wrong: list[str] = []
    try:
        text = file.read_text(encoding="ascii")
    except UnicodeDecodeError as error:
        fail(Exit.USAGE, f"`{file}` is not ASCII, at byte {error.start}: rows are")
    except OSError as error:
        fail(Exit.USAGE, f"`{file}` cannot be read: {error.strerror}")
    for row in rows(str(file), text):
        try:
            found.append(_binding(tenant, row))
        except (ValueError, MalformedQuestionError) as error:
            wrong.append(f"{file}:{row.line}: {error}")
    if wrong:
        more = f"\nand {len(wrong) - _SHOWN:,} more" if len(wrong) > _SHOWN else ""
        fail(Exit.USAGE, "\n".join(wrong[:_SHOWN]) + more)
    return found


def _binding(tenant: str, row: Row) -> RuntimeBinding:
    """Raises ValueError or MalformedQuestionError."""
    match row.fields:
        case ["g", member, holds, where]:
            named, _, scope = where.partition("/")
            if named != tenant:
                raise ValueError(f"`{where}`: expected tenant `{tenant}`, alone or with `/` and a namespace pattern")
            parse_runtime_row(member, holds, scope)
            return RuntimeBinding(member, holds, scope)
        case _:
            raise ValueError("expected `g, MEMBER, HOLDS, TENANT` or `g, MEMBER, HOLDS, TENANT/SCOPE`")


def _document(each: GrantedBinding) -> dict[str, object]:
    row = each.row._asdict()
    return {**row, "change": each.change, "time_us": each.time_us, **dict(zip(_ABOUT, each[3:], strict=True))}


_ABOUT = ("caller", "granter", "reason", "position")
