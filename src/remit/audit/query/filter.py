from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, literal_column, or_

from remit.audit.ids import first_id_at, last_id_at
from remit.audit.schema.tables import decisions

# The time in a record and the millisecond in its id come from two clock readings, unless `DecisionIds.stamp` made both.
# Ranges of ids are therefore this much wider, in microseconds, and `time_us` decides.
CLOCK_SLACK_US = 1_000_000
FIRST_ID = bytes(16)
LAST_ID = b"\xff" * 16
_EQUAL = ("tenant", "principal", "effect", "reason", "question", "caller", "node", "revision")


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionFilter:
    """Selects the decisions for which every given field holds. None means no condition."""

    ids: tuple[bytes, ...] = ()
    """Selects only these ids, if there are any."""
    tenant: str | None = None
    namespace: str | None = None
    """This namespace and all below it. The tenant itself ('') therefore means all."""
    principal: str | None = None
    effect: str | None = None
    reason: str | None = None
    question: str | None = None
    caller: str | None = None
    node: str | None = None
    revision: str | None = None
    since_us: int | None = None
    """Inclusive, microseconds since the Unix epoch."""
    until_us: int | None = None
    """Exclusive, microseconds since the Unix epoch."""

    def conditions(
        self, *, column: Callable[[str], ColumnElement[Any]] = decisions.c.__getitem__, by_id: bool = True
    ) -> list[ColumnElement[bool]]:
        """The conditions on table `decisions`.

        `column` returns the expression for a column other than id and time. Without `by_id`, only `time_us` is
        compared: the caller walks the ids and stays within `span`.
        """
        found = [column(name) == value for name, value in self.equal.items()]
        if self.ids:
            found.append(decisions.c.id.in_(self.ids))
        if self.namespace:
            found.append(at_or_below(column("namespace"), self.namespace))
        return [*found, *in_time(decisions, self.since_us, self.until_us, by_id=by_id)]

    @property
    def equal(self) -> dict[str, str]:
        asked = {name: getattr(self, name) for name in _EQUAL}
        return {name: value for name, value in asked.items() if value is not None}

    @property
    def selects(self) -> frozenset[str]:
        """The columns with a condition, except time and id."""
        return frozenset([*self.equal, *(["namespace"] if self.namespace else [])])

    @property
    def span(self) -> tuple[bytes, bytes]:
        """The first and the last id that the time range can contain."""
        first = FIRST_ID if self.since_us is None else first_id_at(self.since_us - CLOCK_SLACK_US)
        return first, LAST_ID if self.until_us is None else last_id_at(self.until_us + CLOCK_SLACK_US)


def walking_ids(name: str) -> ColumnElement[Any]:
    """Stops SQLite's planner from using the tenant index, so the primary key is scanned in order.

    Otherwise the planner sorts the tenant's whole index. A term with a unary plus never uses an index in SQLite.
    """
    if name != "tenant":
        return decisions.c[name]
    return literal_column(f"+{decisions.name}.{name}", decisions.c[name].type)


def at_or_below(column: ColumnElement[str], namespace: str) -> ColumnElement[bool]:
    """Selects a namespace and all below it, as one range of an index, by bytes.

    `/` is the byte after `.`. The condition excludes what sorts between `a` and `a.`. Never use LIKE: `_` is a letter
    of namespaces, and LIKE folds case on SQLite.
    """
    return and_(
        column >= namespace,
        column < namespace + "/",
        or_(column == namespace, column >= namespace + "."),
    )


def id_range(table: Table, since_us: int | None, until_us: int | None) -> list[ColumnElement[bool]]:
    """Matches every record of that time range, and some just outside it."""
    found: list[ColumnElement[bool]] = []
    if since_us is not None:
        found.append(table.c.id >= first_id_at(since_us - CLOCK_SLACK_US))
    if until_us is not None:
        found.append(table.c.id <= last_id_at(until_us + CLOCK_SLACK_US))
    return found


def in_time(
    table: Table, since_us: int | None, until_us: int | None, *, by_id: bool = True
) -> list[ColumnElement[bool]]:
    found = id_range(table, since_us, until_us) if by_id else []
    if since_us is not None:
        found.append(table.c.time_us >= since_us)
    if until_us is not None:
        found.append(table.c.time_us < until_us)
    return found
