"""JSON objects from others: one meaning or none."""

import json
import math
from typing import Any, Final, NoReturn

_MAX_DEPTH: Final = 8


def parse_object(raw: bytes, max_depth: int = _MAX_DEPTH) -> dict[str, Any]:
    """Parses a JSON object in UTF-8.

    Raises ValueError also for what parsers read differently: a member that occurs twice, NaN and infinite numbers, half a
    surrogate pair, more than `max_depth` levels.
    """
    text = raw.decode()
    try:
        value = json.loads(text, object_pairs_hook=_members, parse_float=_finite, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it has too many levels") from None
    if not isinstance(value, dict):
        raise ValueError("it is not an object")  # noqa: TRY004 (the text is wrong, not a type of ours)
    _check_depth(value, max_depth)
    if "\\" in text:
        # Half a surrogate pair can only come from an escape. Encoding it raises UnicodeEncodeError, a ValueError.
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member occurs twice")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _no_number(_: str) -> NoReturn:
    raise ValueError("a number is not finite")


def _check_depth(value: dict[str, Any], max_depth: int) -> None:
    level: list[Any] = [value]
    for _ in range(max_depth):
        level = [
            child
            for parent in level
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not level:
            return
    raise ValueError("it has too many levels")
