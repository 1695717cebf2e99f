import re
from collections.abc import Iterable
from typing import Any, Final

TRACEPARENT: Final = "traceparent"
# W3C Trace Context: version, trace id, span id, flags. Versions to come may append fields; `ff` is none, and all zeros
# are no id.
_PARSED = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?").fullmatch


def trace_id_in(metadata: Iterable[Any]) -> str:
    """The trace id of a call's `traceparent`, 32 hexadecimal digits; '' where there is none, or none that is well formed."""
    for key, value in metadata:
        if key == TRACEPARENT:
            found = _PARSED(value)
            return found[2] if found and not (found[1] == "00" and found[3]) else ""
    return ""
