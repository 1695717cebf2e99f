"""The hash chain of records. docs/reference/audit-chain.md specifies the encoding, with test vectors.

A chain holds all records of one table, tenant and node, numbered from 1 in the order of their commits. A record's hash
is SHA-256 over the previous hash and the record's fields as lines of text. If a record is altered, removed, inserted or
moved, every later hash changes.
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
"""The suffix of the node's name in records of who read the audit. These records have chains of their own, and a purge
may delete the beginning of such a chain. All other lifecycle records stay."""
_TITLE: Final = "remit chain 1"

_DECISION_BREAKS: Final = 22
_LIFECYCLE_BREAKS: Final = 8

Row = tuple[Any, ...]
"""The driver's row: a record, or its own fields without those of its call, and its position."""


class LinkedCall(NamedTuple):
    call: CallFields
    rows: list[Row]
    """Each row holds a record's own fields (`ItemFields`) and its position."""


class ChainId(NamedTuple):
    table: str
    """DECISIONS or LIFECYCLE."""
    tenant: str
    """'' for lifecycle records of no tenant."""
    node: str


class Head(NamedTuple):
    """The newest record of a chain."""

    seq: int
    """0 for an empty chain."""
    hash: bytes


def purged_chain(tenant: str, node: str) -> ChainId:
    """The chain of that tenant and node whose beginning a purge may delete."""
    return ChainId(LIFECYCLE if node.endswith(READS) else DECISIONS, tenant, node)


def genesis(chain: ChainId) -> Head:
    """The head of an empty chain, which the first record follows."""
    return Head(0, sha256("\n".join((_TITLE, *chain)).encode()).digest())


def link_decisions(
    calls: Iterable[tuple[CallFields, Sequence[ItemFields]]], head: Head
) -> tuple[Head, list[LinkedCall]]:
    """Links decisions after `head`. Returns the new head, and the records with their positions.

    Raises RecordRefused if a field holds a line break: two different records could then have the same text.
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
    """Links lifecycle records, as `link_decisions` does, to whole rows."""
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
            "a field of the record holds a line break, which would look like two fields in the audit chain"
        )
    return sha256(text.encode()).digest()
