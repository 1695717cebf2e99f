"""The text of a record, encoded a second time: the verifier does not use the writer's encoder.

docs/reference/audit-chain.md specifies the text.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final, NamedTuple

from sqlalchemy import Table

from remit.audit.chain.chain import DECISIONS, LIFECYCLE, Row
from remit.audit.schema.tables import decisions, lifecycle

UNENCODABLE: Final = (AttributeError, TypeError, ValueError)
"""Exceptions for values of a wrong type, and for text that is not UTF-8."""


class Encoding(NamedTuple):
    """How the rows of a table are read. The id is the first column; seq and hash are the last two."""

    table: Table
    lines: Callable[[Row], str]
    """Returns the text that follows the previous hash and the seq."""
    tenant: int
    node: int


class RawRecord(NamedTuple):
    """A record as its row holds it."""

    seq: Any
    """The value in the row, whatever its type."""
    id: Any
    lines: str | None
    """None if the fields make no text: a value has a wrong type, or is not UTF-8."""
    hash: Any

    def hash_at(self, seq: int, previous: str) -> bytes | None:
        """The record's hash in that place. None if the record has no text."""
        return None if self.lines is None else sha256(f"{previous}\n{seq}\n{self.lines}".encode()).digest()


def raw_record(row: Row, encoding: Encoding) -> RawRecord:
    lines: str | None
    try:
        lines = encoding.lines(row)
        lines.encode()
    except UNENCODABLE:
        lines = None
    return RawRecord(row[-2], row[0], lines, row[-1])


# Joined, not formatted: a value that is no text or no integer then never makes a line that could pass as a valid one.


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
