"""A record's text, written a second time: what verifies is not what wrote. docs/reference/audit-chain.md specifies it."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final, NamedTuple

from sqlalchemy import Table

from remit.audit.chain.chain import DECISIONS, LIFECYCLE, Row
from remit.audit.schema.tables import decisions, lifecycle

UNENCODABLE: Final = (AttributeError, TypeError, ValueError)
"""What making a text of values of a wrong type raises, and of text that is no UTF-8."""


class Encoding(NamedTuple):
    """How the rows of a table are read; seq and hash are their last two columns, the id is the first."""

    table: Table
    lines: Callable[[Row], str]
    """The text behind the hash before and the seq."""
    tenant: int
    """The column's position."""
    node: int


class RawRecord(NamedTuple):
    """A record where it stands."""

    seq: Any
    """What the row says, whatever that is."""
    id: Any
    lines: str | None
    """None where its fields make no text: a value of a wrong type, no UTF-8."""
    hash: Any

    def hash_at(self, seq: int, previous: str) -> bytes | None:
        """The hash it would have there; None where it has none."""
        return None if self.lines is None else sha256(f"{previous}\n{seq}\n{self.lines}".encode()).digest()


def raw_record(row: Row, encoding: Encoding) -> RawRecord:
    lines: str | None
    try:
        lines = encoding.lines(row)
        lines.encode()
    except UNENCODABLE:
        lines = None
    return RawRecord(row[-2], row[0], lines, row[-1])


# Joined rather than formatted: of a value that is no text, or no integer, there is no line that could be mistaken for one.


def _decision(row: Row) -> str:
    id_, time_us, node, caller, on_behalf_of, tenant, namespace, principal, action, kind, resource_id, *rest = row
    effect, reason, rule, revision, latency_ns, call_id, batch_index, trace_id, question, detail, _, _ = rest
    call = (f"{time_us:d}", node, caller, on_behalf_of, tenant, revision, call_id.hex(), trace_id, question, detail)
    asked = (id_.hex(), namespace, principal, action, kind, resource_id)
    return "\n".join((*call, *asked, effect, reason, rule, f"{latency_ns:d}", f"{batch_index:d}"))


def _lifecycle(row: Row) -> str:
    id_, time_us, node, type_, tenant, revision, detail, _, _ = row
    return "\n".join((id_.hex(), f"{time_us:d}", node, type_, tenant, revision, detail))


def _encoding(table: Table, lines: Callable[[Row], str]) -> Encoding:
    names = list(table.columns.keys())
    return Encoding(table, lines, names.index("tenant"), names.index("node"))


ENCODINGS: Final = {
    DECISIONS: _encoding(decisions, _decision),
    LIFECYCLE: _encoding(lifecycle, _lifecycle),
}
