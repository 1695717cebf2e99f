"""How many decisions there were, by hour: kept beside the records, so that no summary has to read them."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from remit.audit.record import DecisionRecord

HOUR_US: Final = 3_600_000_000
PRINCIPAL: Final = "principal"
NAMESPACE: Final = "namespace"
REVISION: Final = "revision"
"""Few in an hour: the sum over them is all of a tenant."""

_SHARED: Final = ("tenant", "effect", "reason", "node")
_COUNTED: Final = {
    dimension: itemgetter(*map(DecisionRecord._fields.index, (*_SHARED, dimension)))
    for dimension in (PRINCIPAL, NAMESPACE, REVISION)
}

Row = tuple[Any, ...]


def counted(recorded: Sequence[DecisionRecord], unrecorded: Sequence[DecisionRecord] = ()) -> list[Row]:
    """Rows of table `counts`, each to be added to what is there; in the order of its key, so that two transactions
    which add to the same rows never wait for each other."""
    sums: dict[Row, list[int]] = {}
    for column, records in enumerate((recorded, unrecorded)):
        for hour, its in groupby(records, lambda record: record.time_us // HOUR_US):
            same_hour = list(its)
            for dimension, of in _COUNTED.items():
                for (tenant, effect, reason, node, value), number in Counter(map(of, same_hour)).items():
                    key = (tenant, dimension, hour * HOUR_US, value, effect, reason, node)
                    sums.setdefault(key, [0, 0])[column] += number
    return [(*key, *sums[key]) for key in sorted(sums)]
