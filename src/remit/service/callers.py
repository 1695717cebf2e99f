"""The names of those who ask: what a certificate may give, and what `operators` and `auditors` may hold."""

from collections.abc import Callable
from typing import Final, TypeVar

from remit.core.errors import InvalidNameError
from remit.core.names import quote

ANONYMOUS: Final = "anonymous"
"""The caller of a loopback address without TLS, and of no other."""
CALLER_LIMIT: Final = 512

_Entry = TypeVar("_Entry")


def parse_caller(text: str) -> str:
    """A name that stands in records and messages as it is. Raises InvalidNameError."""
    if not text:
        raise InvalidNameError("the name is empty")
    if len(text) > CALLER_LIMIT:
        raise InvalidNameError(f"the name has {len(text)} characters: expected at most {CALLER_LIMIT}")
    if not text.isprintable() or text != text.strip():
        raise InvalidNameError(f"`{quote(text)}` holds characters that are not printable, or blanks at an end")
    if text.casefold() == ANONYMOUS:
        raise InvalidNameError(f"`{text}` is reserved for callers without TLS")
    return text


def parse_operators(text: str) -> frozenset[str]:
    """The callers that the setting `operators` lists. Raises ValueError."""
    return frozenset(parse_entries("operators", text, parse_caller))


def parse_entries(setting: str, text: str, parse: Callable[[str], _Entry]) -> list[_Entry]:
    """The entries of a setting that lists callers, separated by commas; empty ones are left out.

    `parse` raises InvalidNameError; then ValueError quotes the entry.
    """
    found: list[_Entry] = []
    for entry in filter(None, (each.strip() for each in text.split(","))):
        try:
            found.append(parse(entry))
        except InvalidNameError as error:
            raise ValueError(f"`{setting}` holds `{quote(entry)}`: {error}") from None
    return found
