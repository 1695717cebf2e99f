"""The names of callers, as they stand in certificates and in the settings `operators` and `auditors`."""

from collections.abc import Callable
from typing import Final, TypeVar

from remit.core.errors import InvalidNameError
from remit.core.names import quote

ANONYMOUS: Final = "anonymous"
"""The name of every caller without TLS. Only loopback addresses accept such callers."""
CALLER_LIMIT: Final = 512

_Entry = TypeVar("_Entry")


def parse_caller(text: str) -> str:
    """Checks a caller's name. Records and messages show it unchanged. Raises InvalidNameError."""
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
    """Parses a setting that lists callers, separated by commas. Empty entries are ignored.

    Raises ValueError, which quotes the entry, if `parse` raises InvalidNameError.
    """
    found: list[_Entry] = []
    for entry in filter(None, (each.strip() for each in text.split(","))):
        try:
            found.append(parse(entry))
        except InvalidNameError as error:
            raise ValueError(f"`{setting}` holds `{quote(entry)}`: {error}") from None
    return found
