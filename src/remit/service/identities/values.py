"""The values of the file `identities`: parsers that raise InvalidNameError."""

import re
from datetime import UTC, date, datetime
from math import inf, isfinite
from typing import Final
from urllib.parse import urlsplit

from remit.core.errors import InvalidNameError
from remit.core.names import SEGMENT, quote
from remit.service.identities.fetch import check_url

_SHORT_NAME: Final = re.compile(rf"(?=.{{1,63}}\Z){SEGMENT}").fullmatch
_HEX: Final = re.compile(r"[0-9a-f]{64}").fullmatch
_FINGERPRINT: Final = "sha256:"


def parse_short_name(text: str) -> str:
    if not _SHORT_NAME(text):
        raise InvalidNameError(
            f"`{quote(text)}` is no short name: expected 1 to 63 of a-z, 0-9, `_` and `-`, beginning with a letter or digit"
        )
    return text


def parse_https(text: str) -> str:
    """An address that `fetch` takes, and nothing in it that a request would leave out."""
    try:
        check_url(text)
        url = urlsplit(text)
        good = url.hostname and url.port != 0 and not url.fragment
    except ValueError:
        good = False
    if not good or not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidNameError(f"`{quote(text)}` is no address of keys: expected `https://HOST/PATH`")
    return text


def parse_digest(text: str) -> bytes:
    if not _HEX(text.lower()):
        # The text may be the token itself: it must not get into a log.
        raise InvalidNameError("the value of `sha256` is no SHA-256 digest: expected 64 hexadecimal digits")
    return bytes.fromhex(text)


def parse_fingerprint(text: str) -> bytes:
    """Takes the colons of `openssl x509 -fingerprint` too: who refuses a certificate is in a hurry."""
    digits = text.removeprefix(_FINGERPRINT).replace(":", "").lower()
    if not text.startswith(_FINGERPRINT) or not _HEX(digits):
        raise InvalidNameError(
            f"`{quote(text)}` is no fingerprint of a certificate: expected `sha256:` and 64 hexadecimal digits"
        )
    return bytes.fromhex(digits)


def parse_time(text: str) -> float:
    """Seconds since the Unix epoch. A day begins at 00:00 UTC."""
    try:
        if len(text) == len("2027-03-01"):
            day = date.fromisoformat(text)
            return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
        moment = datetime.fromisoformat(text)
        seconds = moment.timestamp() if moment.tzinfo is not None else inf
    except (ValueError, OverflowError):
        seconds = inf
    if not isfinite(seconds):
        raise InvalidNameError(
            f"`{quote(text)}` is no time: expected a day such as `2027-03-01`, or a time such as `2027-03-01T12:00:00Z`"
        )
    return seconds
