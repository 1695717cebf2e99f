"""The audit's records of changes of rows of run time."""

from collections.abc import Callable, Sequence
from typing import Any

import structlog

from remit.audit.errors import JournalUnavailable
from remit.audit.record import BINDINGS_CHANGED
from remit.core.position import Position
from remit.service.decision_point import CallTerms

_log = structlog.get_logger("remit")


class BindingRecords:
    def __init__(self, record: Callable[[str, str, str, dict[str, Any]], None]) -> None:
        """`record` writes a lifecycle record of a type, a tenant, a revision and its detail."""
        self._record = record

    def add(self, terms: CallTerms, position: Position, granter: str, reason: str, **rows: Sequence[str] | int) -> None:
        """Records a change that is durable already: the caller must not take it for one that was not made."""
        detail = {
            "caller": terms.origin.caller,
            "granter": granter,
            "position": str(position),
            **rows,
            "reason": reason,
        }
        try:
            self._record(BINDINGS_CHANGED, position.tenant, "", detail)
        except JournalUnavailable as error:
            _log.error("a change of rows of run time is not in the audit", **detail, error=str(error))
