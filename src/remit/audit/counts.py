"""How many decisions there were, by hour: kept beside the records, so that no summary has to read them."""

from collections import Counter
from collections.abc import Iterable
from operator import itemgetter
from typing import Any, Final

from remit.audit.record import DecisionRecord

HOUR_US: Final = 3_600_000_000
PRINCIPAL: Final = "principal"
NAMESPACE: Final = "namespace"
REVISION: Final = "revision"
"""Few in an hour: the sum over them is all of a tenant."""

_SHARED: Final = ("tenant", "time_us", "effect", "reason", "node")
_COUNTED: Final = {
    dimension: itemgetter(*map(DecisionRecord._fields.index, (*_SHARED, dimension)))
    for dimension in (PRINCIPAL, NAMESPACE, REVISION)
}

Row = tuple[Any, ...]


def counted(recorded: Iterable[DecisionRecord], unrecorded: Iterable[DecisionRecord] = ()) -> list[Row]:
    """Rows of table `counts`, each to be added to what is there; in the order of its key, so that two transactions
    which add to the same rows never wait for each other."""
    sums: dict[Row, list[int]] = {}
    for column, records in enumerate((list(recorded), list(unrecorded))):
        for dimension, of in _COUNTED.items():
            for (tenant, time_us, effect, reason, node, value), number in Counter(map(of, records)).items():
                hour_us = time_us - time_us % HOUR_US
                key = (tenant, dimension, hour_us, value, effect, reason, node)
                sums.setdefault(key, [0, 0])[column] += number
    return [(*key, *sums[key]) for key in sorted(sums)]
