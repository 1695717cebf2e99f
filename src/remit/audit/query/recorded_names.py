"""Parsers for names in records, which reject a filter value that no record can hold.

Such a value would match nothing, and the result would look as if there were no records.
"""

import re
from difflib import get_close_matches
from typing import Final

from remit.audit.chain.chain import READS
from remit.audit.record import HASHED
from remit.core.errors import InvalidNameError
from remit.core.names import is_namespace, is_principal, quote

LIFECYCLE_TYPES: Final = (
    *(
        "SERVER_STARTED",
        "SERVER_STOPPED",
        "KEY_IN_USE",
        "PURGE_STARTED",
        "PURGED",
        "AUDIT_READ",
        "POLICY_READ",
        "AUDIT_VERIFIED",
    ),
    *("CALL_REFUSED", "IDENTITIES_LOADED", "IDENTITIES_REFUSED"),
    *("POLICY_LOADED", "POLICY_REFUSED", "POLICY_REMOVED", "POLICY_RESTORED"),
    *("POLICY_PINNED", "POLICY_UNPINNED", "POLICY_CHECKED", "POLICY_FORK"),
    *("BINDINGS_CHANGED", "BINDINGS_APPLIED"),
)
CALLER_LIMIT: Final = 512

_NAMESPACE: Final = "namespace:"
_is_hash = re.compile(rf"{HASHED}[0-9a-f]{{32}}").fullmatch
_is_node = re.compile(rf"[!-~]{{1,64}}(?:{READS})?").fullmatch


def parse_recorded_principal(text: str) -> str:
    """Raises InvalidNameError if no record can hold the name, as all these parsers do."""
    if is_principal(text) or _is_hash(text):
        return text
    if text.startswith(_NAMESPACE) and is_namespace(text.removeprefix(_NAMESPACE)):
        return text
    meant = f"user:{text}"
    hint = f"; did you mean `{meant}`?" if ":" not in text and is_principal(meant) else ""
    raise InvalidNameError(
        f"`{quote(text)}` is no principal of a record: expected `user:ID`, `service:ID`, `namespace:NAMESPACE` (who reaches), or "
        f"`{HASHED}` and 32 hex digits (a name that was redacted); one whole name, no pattern{hint}"
    )


def parse_recorded_caller(text: str) -> str:
    if not text.isprintable() or not 1 <= len(text) <= CALLER_LIMIT:
        raise InvalidNameError(
            f"`{quote(text)}` is no caller of a record: expected 1 to {CALLER_LIMIT} printable characters, such as "
            "`service:spiffe://acme.example/web`"
        )
    return text


def parse_recorded_node(text: str) -> str:
    if not _is_node(text):
        raise InvalidNameError(
            f"`{quote(text)}` is no node of a record: expected 1 to 64 printable ASCII characters without blanks"
        )
    return text


def parse_lifecycle_type(text: str) -> str:
    if text in LIFECYCLE_TYPES:
        return text
    close = get_close_matches(text.upper()[:80], LIFECYCLE_TYPES, n=1)
    hint = f"; did you mean `{close[0]}`?" if close else ""
    raise InvalidNameError(
        f"`{quote(text)}` is no type of lifecycle records: expected one of {', '.join(LIFECYCLE_TYPES)}{hint}"
    )
