"""The rollup: counts of decisions by hour, and the minutes that have any, written in the records' transaction.

A summary then reads no records, and a search reads only some of them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from remit.audit.batch import ITEM_FIELDS, CallFields, RecordBatch
from remit.audit.record import DecisionRecord
from remit.audit.schema.tables import ALL, CALLER, HOUR_US, MINUTE_US, NAMESPACE, PRINCIPAL, QUESTION, REVISION

_FEW: Final = (REVISION, CALLER, QUESTION)
"""Dimensions with few values at a time, counted together."""
_MANY: Final = {dimension: ITEM_FIELDS.index(dimension) for dimension in (PRINCIPAL, NAMESPACE)}
_EFFECT: Final = ITEM_FIELDS.index("effect")
_REASON: Final = ITEM_FIELDS.index("reason")

Row = tuple[Any, ...]
_Where = tuple[str, str, int, int]
"""Tenant, node, hour in microseconds since the Unix epoch, and the bit of the minute in that hour."""


def counted(recorded: Iterable[DecisionRecord], unrecorded: Iterable[DecisionRecord] = ()) -> list[Row]:
    """Rows to add to table `counts`.

    They are in the order of its key: two transactions that add to the same rows never deadlock.
    """
    sums: defaultdict[Row, list[int]] = defaultdict(lambda: [0, 0, 0])
    for column, records in enumerate((recorded, unrecorded)):
        for dimension, (tenant, node, hour_us, minute), effect, reason, value, number in _counted(
            RecordBatch.of(records)
        ):
            found = sums[tenant, dimension, hour_us, value, effect, reason, node]
            found[column] += number
            if column == 0:
                # The minute index needs only minutes with stored records.
                found[2] |= minute
    return [(*key, *sums[key]) for key in sorted(sums)]


def _counted(records: RecordBatch) -> Iterator[tuple[str, _Where, str, str, str, int]]:
    """Yields the dimension; tenant, node, hour and minute; effect, reason and value; and the number of decisions."""
    calls: list[tuple[_Where, tuple[str, ...], Sequence[Row]]] = [
        (_where(call), (call.revision, call.caller, call.question), items) for call, items in records.calls
    ]
    few = Counter([(where, values, item[_EFFECT], item[_REASON]) for where, values, items in calls for item in items])
    for (where, values, effect, reason), number in few.items():
        yield ALL, where, effect, reason, "", number
        for dimension, value in zip(_FEW, values, strict=True):
            yield dimension, where, effect, reason, value, number
    for dimension, at in _MANY.items():
        many = Counter([(where, item[_EFFECT], item[_REASON], item[at]) for where, _, items in calls for item in items])
        for (where, effect, reason, value), number in many.items():
            yield dimension, where, effect, reason, value, number


def _where(call: CallFields) -> _Where:
    hour, us = divmod(call.time_us, HOUR_US)
    return call.tenant, call.node, hour * HOUR_US, 1 << us // MINUTE_US
