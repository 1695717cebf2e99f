"""Options that several commands of `remit audit` share, and the parsers of their values."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from remit.audit.chain.signing import AuditKeyError, PublicKey, SigningKey
from remit.audit.ids import parse_id
from remit.cli.common.option_group import where_option
from remit.cli.common.parsers import from_text
from remit.clock import now_us, utc_text
from remit.core.ages import parse_age
from remit.core.errors import InvalidNameError
from remit.core.names import is_revision, parse_tenant

_DIGITS = re.compile(r"[0-9a-fA-F]{64}").fullmatch

StoreOption = Annotated[
    str,
    where_option(
        "--audit",
        "REMIT_AUDIT",
        "URL",
        "The audit store: `sqlite:///PATH` or `postgresql+psycopg://USER@HOST/DATABASE`.",
    ),
]
STORE_DEFAULT: Final = "sqlite:///var/audit.db"


def moment(text: str) -> int:
    """Parses an ISO 8601 time (UTC if it names no zone), or an age such as `90m`. Microseconds since the Unix epoch."""
    age_s = parse_age(text)
    if age_s is not None:
        return max(now_us() - age_s * 1_000_000, 0)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        expected = (
            "expected a time such as `2026-11-23` or `2026-11-23T14:00:00+01:00`, or an age such as `90m` or `7d`"
        )
        raise typer.BadParameter(f"`{text}`: {expected}") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1_000_000)


def span(text: str) -> int:
    """Parses a span of time such as `90m` or `7d`. Microseconds."""
    seconds = parse_age(text)
    if seconds is None:
        raise typer.BadParameter(f"`{text}`: expected a span of time such as `90m` or `7d`")
    return seconds * 1_000_000


def _public_key(text: str) -> PublicKey:
    """Parses 64 hex digits, or reads a PEM file."""
    return PublicKey.parse(text) if _DIGITS(text) else PublicKey.read(Path(text))


public_key = from_text(_public_key, AuditKeyError)
signing_key = from_text(lambda text: SigningKey.read(Path(text)), AuditKeyError)
decision_id_from = from_text(parse_id, ValueError)
chains_of = from_text(lambda text: text and parse_tenant(text), InvalidNameError)
"""Parses a tenant, or '' for the chains without a tenant: starts and stops of servers."""


def revision_from(text: str) -> str:
    if not is_revision(text):
        raise typer.BadParameter(f"`{text}`: expected 64 lower-case hexadecimal digits")
    return text


def time_text(microseconds: int) -> str:
    return utc_text(microseconds, timespec="milliseconds")


SinceOption = Annotated[
    int | None,
    typer.Option(
        parser=moment,
        metavar="TIME",
        help="From this time on: ISO 8601 (UTC if it names no zone), or `90m` ago.",
        show_default=False,
    ),
]
UntilOption = Annotated[
    int | None, typer.Option(parser=moment, metavar="TIME", help="Before this time.", show_default=False)
]
