"""How one record follows from another. docs/reference/audit-chain.md specifies the encoding, with test vectors.

A chain is all records of one table, tenant and node, numbered from 1 in the order of their commits. A record's hash is
SHA-256 over the hash before it and the record's fields as lines of text, so that none can be altered, removed, inserted or
moved without every later hash being another one.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

from remit.audit.batch import CallFields, ItemFields
from remit.audit.errors import RecordRefused
from remit.audit.record import LifecycleRecord

DECISIONS: Final = "decisions"
LIFECYCLE: Final = "lifecycle"
READS: Final = "/reads"
"""What the node's name ends with in records of who read the audit. So they are in chains of their own, of which a purge may
take the beginning; all other lifecycle records stay."""
_TITLE: Final = "remit chain 1"

_DECISION_BREAKS: Final = 22
_LIFECYCLE_BREAKS: Final = 8

Row = tuple[Any, ...]
"""What goes to the driver: a record, or what is its own beside its call, with its place."""


class LinkedCall(NamedTuple):
    call: CallFields
    rows: list[Row]
    """Each a record's own fields (`ItemFields`), and its place."""


class ChainId(NamedTuple):
    """Whose records follow one another."""

    table: str
    """DECISIONS or LIFECYCLE."""
    tenant: str
    """'' for lifecycle records of no tenant."""
    node: str


class Head(NamedTuple):
    """The newest record of a chain."""

    seq: int
    """0 for a chain without any."""
    hash: bytes


def purged_chain(tenant: str, node: str) -> ChainId:
    """The chain by that name of which a purge may take the beginning."""
    return ChainId(LIFECYCLE if node.endswith(READS) else DECISIONS, tenant, node)


def genesis(chain: ChainId) -> Head:
    """What the first record of a chain follows."""
    return Head(0, sha256("\n".join((_TITLE, *chain)).encode()).digest())


def link_decisions(
    calls: Iterable[tuple[CallFields, Sequence[ItemFields]]], head: Head
) -> tuple[Head, list[LinkedCall]]:
    """Records that follow `head` with their places, and the head behind them.

    Raises RecordRefused for a field with a line break, with which two records could have one text.
    """
    seq, previous = head
    linked: list[LinkedCall] = []
    for call, items in calls:
        time_us, node, caller, on_behalf_of, tenant, revision, call_id, trace_id, question, detail = call
        lines = (
            f"{time_us}\n{node}\n{caller}\n{on_behalf_of}\n{tenant}\n"
            f"{revision}\n{call_id.hex()}\n{trace_id}\n{question}\n{detail}"
        )
        rows: list[Row] = []
        for item in items:
            id_, principal, action, kind, namespace, resource_id, effect, reason, rule, latency_ns, batch_index = item
            seq += 1
            text = (
                f"{previous.hex()}\n{seq}\n{lines}\n{id_.hex()}\n{namespace}\n{principal}\n{action}\n{kind}\n"
                f"{resource_id}\n{effect}\n{reason}\n{rule}\n{latency_ns}\n{batch_index}"
            )
            previous = _hash(text, _DECISION_BREAKS)
            rows.append((*item, seq, previous))
        linked.append(LinkedCall(call, rows))
    return Head(seq, previous), linked


def link_lifecycle(records: Iterable[LifecycleRecord], head: Head) -> tuple[Head, list[Row]]:
    """As `link_decisions`, to whole rows."""
    seq, previous = head
    rows: list[Row] = []
    for record in records:
        id_, time_us, node, type_, tenant, revision, detail = record
        seq += 1
        text = f"{previous.hex()}\n{seq}\n{id_.hex()}\n{time_us}\n{node}\n{type_}\n{tenant}\n{revision}\n{detail}"
        previous = _hash(text, _LIFECYCLE_BREAKS)
        rows.append((*record, seq, previous))
    return Head(seq, previous), rows


def _hash(text: str, breaks: int) -> bytes:
    if text.count("\n") != breaks:
        raise RecordRefused(
            "a field of the record holds a line break, which the audit chain cannot tell from two fields"
        )
    return sha256(text.encode()).digest()
