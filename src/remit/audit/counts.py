"""How many decisions there were, by hour: kept beside the records, so that no summary has to read them; and in which
minutes, so that no search has to read all of them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any, Final

from remit.audit.record import DecisionRecord

MINUTE_US: Final = 60_000_000
HOUR_US: Final = 60 * MINUTE_US
ALL: Final = ""
"""The dimension without a value: all decisions of the tenant."""
PRINCIPAL: Final = "principal"
NAMESPACE: Final = "namespace"
REVISION: Final = "revision"
CALLER: Final = "caller"
QUESTION: Final = "question"

_SHARED: Final = ("tenant", "node", "effect", "reason")
_FEW: Final = (REVISION, CALLER, QUESTION)
"""Dimensions with few values at a time: counted in one go."""

Row = tuple[Any, ...]


def _of(*names: str) -> "itemgetter[Any]":
    return itemgetter(*map(DecisionRecord._fields.index, names))


_time_us = _of("time_us")
_few = _of(*_SHARED, *_FEW)
_many = {dimension: _of(*_SHARED, dimension) for dimension in (PRINCIPAL, NAMESPACE)}


def counted(recorded: Sequence[DecisionRecord], unrecorded: Sequence[DecisionRecord] = ()) -> list[Row]:
    """Rows of table `counts`, each to be added to what is there; in the order of its key, so that two transactions
    which add to the same rows never wait for each other."""
    sums: defaultdict[Row, list[int]] = defaultdict(lambda: [0, 0, 0])
    for column, records in enumerate((recorded, unrecorded)):
        for minute_us, its in _by_minute(records):
            hour_us = minute_us - minute_us % HOUR_US
            # A search has nothing to find where nothing is recorded.
            minute = 0 if column else 1 << ((minute_us - hour_us) // MINUTE_US)
            for dimension, (tenant, node, effect, reason, value), number in _counted(its):
                found = sums[tenant, dimension, hour_us, value, effect, reason, node]
                found[column] += number
                found[2] |= minute
    return [(*key, *sums[key]) for key in sorted(sums)]


def _counted(records: Iterable[DecisionRecord]) -> Iterator[tuple[str, tuple[str, ...], int]]:
    """By dimension: tenant, node, effect, reason and the value, with their number."""
    for key, number in Counter(map(_few, records)).items():
        shared = key[: len(_SHARED)]
        yield ALL, (*shared, ""), number
        for dimension, value in zip(_FEW, key[len(_SHARED) :], strict=True):
            yield dimension, (*shared, value), number
    for dimension, of in _many.items():
        for key, number in Counter(map(of, records)).items():
            yield dimension, key, number


def _by_minute(records: Sequence[DecisionRecord]) -> Iterable[tuple[int, Sequence[DecisionRecord]]]:
    """Each minute's beginning, in microseconds since the Unix epoch, and its records. Mostly there is one."""
    if not records:
        return ()
    first, last = (end(map(_time_us, records)) // MINUTE_US for end in (min, max))
    if first == last:
        return ((first * MINUTE_US, records),)
    minutes = defaultdict(list)
    for record in records:
        minutes[record.time_us // MINUTE_US * MINUTE_US].append(record)
    return minutes.items()
