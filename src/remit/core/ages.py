import re
from typing import Final

_SECONDS: Final = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
# Each unit once, the largest first.
is_age: Final = re.compile("".join(rf"(?:(?P<{unit}>[0-9]{{1,6}}){unit})?" for unit in _SECONDS)).fullmatch
"""Matches the empty text too."""


def parse_age(text: str) -> int | None:
    """Returns seconds: `90m` is 5400, `1d12h` is 129600. Returns None if the text is no age."""
    found = is_age(text) if text else None
    return None if found is None else sum(int(found[unit] or 0) * _SECONDS[unit] for unit in _SECONDS)
