import re
from collections.abc import Iterable
from typing import Any, Final

TRACEPARENT: Final = "traceparent"
# W3C Trace Context: version, trace id, span id, flags. Later versions may append fields. `ff` is not a version, and all
# zeros are not an id.
_PARSED = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?").fullmatch


def trace_id_in(metadata: Iterable[Any]) -> str:
    """The trace id of a call's `traceparent`, 32 hexadecimal digits; '' if it is missing or not well formed."""
    for key, value in metadata:
        if key == TRACEPARENT:
            found = _PARSED(value)
            return found[2] if found and not (found[1] == "00" and found[3]) else ""
    return ""
