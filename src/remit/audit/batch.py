"""Batches of decision records, grouped by call.

The shared fields of a call are made, hashed, counted and bound once.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple, Self, overload

from remit.audit.record import DecisionRecord


class CallFields(NamedTuple):
    """The fields that all records of a call share, as DecisionRecord has them."""

    time_us: int
    node: str
    caller: str
    on_behalf_of: str
    tenant: str
    revision: str
    call_id: bytes
    trace_id: str
    question: str
    detail: str


ItemFields = tuple[bytes, str, str, str, str, str, str, str, str, int, int]
"""The fields of one record, named in ITEM_FIELDS. A plain tuple, because there is one for each decision."""
ITEM_FIELDS: Final = (
    *("id", "principal", "action", "kind", "namespace", "resource_id"),
    *("effect", "reason", "rule", "latency_ns", "batch_index"),
)

_call_of = itemgetter(*map(DecisionRecord._fields.index, CallFields._fields))
_item_of = itemgetter(*map(DecisionRecord._fields.index, ITEM_FIELDS))
_in_columns: "itemgetter[Any]" = itemgetter(*map((*CallFields._fields, *ITEM_FIELDS).index, DecisionRecord._fields))


class RecordBatch(Sequence[DecisionRecord]):
    """Records of calls. Each record is made when it is read."""

    __slots__ = ("_count", "calls")

    def __init__(self, *calls: tuple[CallFields, Sequence[ItemFields]]) -> None:
        self.calls = calls
        self._count = sum([len(items) for _, items in calls])

    @classmethod
    def of(cls, records: Iterable[DecisionRecord]) -> Self:
        """Groups records by call: consecutive records with equal call fields belong to one call."""
        if isinstance(records, cls):
            return records
        return cls(*((CallFields._make(call), [*map(_item_of, its)]) for call, its in groupby(records, _call_of)))

    @classmethod
    def joined(cls, parts: Iterable["RecordBatch"]) -> Self:
        return cls(*chain.from_iterable([part.calls for part in parts]))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[DecisionRecord]:
        for call, items in self.calls:
            for item in items:
                yield DecisionRecord._make(_in_columns(call + item))

    @overload
    def __getitem__(self, at: int) -> DecisionRecord: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[DecisionRecord]: ...
    def __getitem__(self, at: int | slice) -> DecisionRecord | Sequence[DecisionRecord]:
        return [*self][at]


EMPTY_BATCH: Final = RecordBatch()
