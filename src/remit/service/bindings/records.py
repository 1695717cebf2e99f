"""The audit's records of changes of rows of run time."""

from collections.abc import Callable, Sequence
from typing import Any

import structlog

from remit.audit.errors import JournalUnavailable
from remit.audit.record import BINDINGS_CHANGED
from remit.core.position import Position
from remit.fleet.bindings import BindingChange
from remit.service.decision_point import CallTerms

_log = structlog.get_logger("remit")


class BindingRecords:
    def __init__(self, record: Callable[[str, str, str, dict[str, Any]], None]) -> None:
        """`record` writes a lifecycle record of a type, a tenant, a revision and its detail."""
        self._record = record

    def add(
        self,
        terms: CallTerms,
        position: Position,
        change: BindingChange,
        request_id: str,
        *,
        repeated: bool = False,
        **rows: Sequence[str] | int,
    ) -> None:
        """Records a change that is durable already. So does a repeated request: the server may have died before the first
        record.

        Raises JournalUnavailable if the request has an id: whoever sends it again finds the change, and records it. Without
        an id, the log alone has it: nobody must take the change for one that was not made.
        """
        detail = {
            "caller": terms.origin.caller,
            "granter": change.granter,
            "position": str(position),
            **rows,
            "reason": change.reason,
        }
        if repeated:
            detail["repeated"] = True
        try:
            self._record(BINDINGS_CHANGED, position.tenant, "", detail)
        except JournalUnavailable as error:
            _log.error("a change of rows of run time is not in the audit", **detail, error=str(error))
            if request_id:
                text = f"the change is made, and its record is not: send the request again, with its request id: {error.shown}"
                raise JournalUnavailable(text) from error
