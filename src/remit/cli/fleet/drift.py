from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Annotated, Final, NamedTuple

import typer

from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.output import Exit, fail, out
from remit.cli.common.server_options import DEFAULT_SERVER, Connection, ServerOption, with_connection
from remit.cli.common.table import print_table
from remit.cli.fleet.bindings import asking, csv_row
from remit.client import Client, DecisionUnavailable, GrantedBinding, RecordFilter
from remit.clock import now_us, utc_text
from remit.core.ages import parse_age
from remit.core.decision import Reason
from remit.core.runtime import RUNTIME_PLACE
from remit.core.str_enum import StrEnum

_US: Final = 1_000_000
_RECORDS: Final = 200
"""Allows of a member that are read, and as many denies by a rule, the newest first."""


class Usage(StrEnum):
    """Whether a row was ever used."""

    USED = "used"
    UNUSED = "unused"
    UNKNOWN = "unknown"


class _Drifted(NamedTuple):
    tenant: str
    granted: GrantedBinding
    usage: Usage | None


@with_connection(60.0)
def drift(
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="A tenant.", show_default=False)] = "",
    every: Annotated[bool, typer.Option("--all", help="All tenants of the server.")] = False,
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="TIME", help="Only rows granted so long ago, as `7d`.")
    ] = "0s",
    usage: Annotated[bool, typer.Option("--usage", help="Look into the audit for rows that were never used.")] = False,
    as_json: JsonOption = False,
    target: ServerOption = DEFAULT_SERVER,
    *,
    connection: Connection,
) -> None:
    """List the rows that exist at run time only: they have drifted from the files.

    Exits with 1 if there is one. `remit bindings export` makes file rows of them.

    With `--usage`, each row of a user or a service is `used` if a decision that the audit holds leads through it: an allow,
    or a deny by a rule, as of somebody who is suspended. `unused` means that none of them does. A suspension that is
    `unused` still counts: it was not asked about. What the audit does not hold cannot be known: decisions that sampling left
    out, that were purged, or that a cache of a client answered. A row of a group is `unknown`, and so is one whose member
    has more than 200 allows or 200 denies by a rule since the grant, none of the newest 200 of which leads through the row.
    A decision that another row makes too may lead through that one.

    Example: `remit drift acme --older-than 7d`
    """
    if bool(tenant) == every:
        fail(Exit.USAGE, "name a tenant, or --all")
    age_s = parse_age(older_than) if older_than != "0s" else 0
    if age_s is None:
        raise typer.BadParameter(f"`{older_than}`: expected a time such as `90m`, `8h` or `30d`")
    before_us = now_us() - age_s * _US
    with asking(connection, target) as client:
        tenants = [each.tenant for each in client.status().tenants] if every else [tenant]
        found = [each for name in tenants for each in _drifted(client, name, before_us, usage=usage)]
    _print(found, tenants, usage=usage, as_json=as_json)
    raise typer.Exit(Exit.NO if found else Exit.OK)


def _drifted(client: Client, tenant: str, before_us: int, *, usage: bool) -> Iterator[_Drifted]:
    try:
        for each in client.tenant(tenant).export_bindings():
            if each.time_us <= before_us:
                yield _Drifted(tenant, each, usage_of(client, tenant, each) if usage else None)
    except DecisionUnavailable as error:
        # Of tenants that take no rows there is nothing to tell.
        if error.code != "FAILED_PRECONDITION":
            raise


def usage_of(client: Client, tenant: str, granted: GrantedBinding) -> Usage:
    """Raises DecisionUnavailable if the audit cannot be read."""
    member = granted.row.member
    if member.startswith("group:"):
        return Usage.UNKNOWN
    asked: set[tuple[str, str, str, str]] = set()
    cut = False
    for reason in (Reason.ALLOWED_BY_RULE, Reason.DENIED_BY_RULE):
        where = RecordFilter(tenant=tenant, principal=member, reason=reason, since_us=granted.time_us)
        records = list(islice(client.list_records(where, page_size=_RECORDS), _RECORDS + 1))
        cut |= len(records) > _RECORDS
        asked |= {(each.action, each.kind, each.namespace, each.revision) for each in records[:_RECORDS] if each.kind}
    place, text = f"{RUNTIME_PLACE}{granted.change}", csv_row(tenant, granted.row)
    for action, kind, namespace, revision in sorted(asked):
        past = client.tenant(tenant, revision=revision).explain_past(member, action, kind, namespace)
        for answer in past.answers:
            # Rows of one change have one place.
            if any((each.file, each.text) == (place, text) for each in answer.access.chain):
                return Usage.USED
    return Usage.UNKNOWN if cut else Usage.UNUSED


def _print(found: Sequence[_Drifted], tenants: Sequence[str], *, usage: bool, as_json: bool) -> None:
    if as_json:
        rows = [
            {
                "tenant": each.tenant,
                **each.granted.row._asdict(),
                "change": each.granted.change,
                "time_us": each.granted.time_us,
                "caller": each.granted.caller,
                "granter": each.granted.granter,
                "reason": each.granted.reason,
                **({"usage": each.usage} if usage else {}),
            }
            for each in found
        ]
        print_json({"rows": rows})
        return
    if not found:
        out.print(f"no drift in {', '.join(f'`{each}`' for each in tenants)}")
        return
    cells = [
        (
            each.tenant,
            each.granted.row.member,
            each.granted.row.holds,
            each.granted.row.scope,
            utc_text(each.granted.time_us),
            each.granted.granter,
            each.granted.reason,
            *([str(each.usage)] if usage else []),
        )
        for each in found
    ]
    print_table(
        ("tenant", "member", "holds", "scope", "granted", "granter", "reason", *(["usage"] if usage else [])), cells
    )
