import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from remit.audit.ids import parse_id
from remit.audit.signing import AuditKeyError, PublicKey, SigningKey

_AGO = re.compile(r"(\d{1,6})([smhd])").fullmatch
_DIGITS = re.compile(r"[0-9a-fA-F]{64}").fullmatch
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

StoreOption = Annotated[
    str,
    typer.Option(
        "--audit",
        envvar="REMIT_AUDIT",
        metavar="URL",
        help="The audit store: `sqlite:///PATH` or `postgresql+psycopg://USER@HOST/DATABASE`.",
    ),
]
STORE_DEFAULT: Final = "sqlite:///var/audit.db"


def moment(text: str) -> int:
    """Microseconds since the Unix epoch: an ISO 8601 time (UTC where it names no zone), or an age such as `90m`."""
    age = _AGO(text)
    if age is not None:
        moment = datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
    else:
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
    """Microseconds: `90m`, `7d`."""
    found = _AGO(text)
    if found is None:
        raise typer.BadParameter(f"`{text}`: expected a span of time such as `90m` or `7d`")
    return timedelta(**{_UNITS[found[2]]: int(found[1])}) // timedelta(microseconds=1)


def public_key(text: str) -> PublicKey:
    """A file in PEM, or 64 hex digits."""
    try:
        return PublicKey.parse(text) if _DIGITS(text) else PublicKey.read(Path(text))
    except AuditKeyError as error:
        raise typer.BadParameter(str(error)) from None


def signing_key(text: str) -> SigningKey:
    try:
        return SigningKey.read(Path(text))
    except AuditKeyError as error:
        raise typer.BadParameter(str(error)) from None


def decision_id_from(text: str) -> bytes:
    try:
        return parse_id(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def time_told(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
