"""Streams of answers that a client reads, and resumes where it can."""

from collections.abc import Sequence
from typing import NamedTuple

from remit.client.call import Terms
from remit.client.questions import RuntimeBinding
from remit.v1 import audit_service_pb2 as audit_pb2
from remit.v1 import binding_service_pb2 as messages


class GrantedBinding(NamedTuple):
    """A row that is in force, and who granted it."""

    row: RuntimeBinding
    change: int
    """The change of the tenant that granted it, as in `runtime:change 12`."""
    time_us: int
    caller: str
    granter: str
    reason: str
    position: str
    """The position at which all rows of the export are in force."""


class WatchedChange(NamedTuple):
    """A change of the rows of a tenant."""

    position: str
    """To watch on from."""
    change: int
    time_us: int
    caller: str
    granter: str
    reason: str
    granted: tuple[RuntimeBinding, ...]
    revoked: tuple[RuntimeBinding, ...]
    """Without their ends. A row that was granted again with another end is in both."""
    ended: tuple[RuntimeBinding, ...]
    """Rows whose end had passed before."""


class RecordStream:
    """The records that a filter selects, as they are committed."""

    has_end, may_resume = False, True

    def __init__(self, where: audit_pb2.RecordFilter | None, after: str) -> None:
        self._where = where
        self._after = after
        self._cursor = ""

    def request(self) -> audit_pb2.FollowRecordsRequest:
        return audit_pb2.FollowRecordsRequest(filter=self._where, after=self._after, cursor=self._cursor)

    def read(self, response: audit_pb2.FollowRecordsResponse) -> Sequence[audit_pb2.Record]:
        self._cursor = response.cursor
        return response.records


class ExportStream:
    """The rows that are in force at one position."""

    has_end = True

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self.may_resume = True

    def request(self) -> messages.ExportBindingsRequest:
        return self._terms.bind(messages.ExportBindingsRequest())

    def read(self, response: messages.ExportBindingsResponse) -> list[GrantedBinding]:
        # Another stream may have another position.
        self.may_resume = False
        by_number = {each.change: each for each in response.changes}
        return [
            GrantedBinding(
                _binding(each.row),
                each.change,
                by_number[each.change].time_us,
                by_number[each.change].caller,
                by_number[each.change].granter,
                by_number[each.change].reason,
                response.position,
            )
            for each in response.rows
        ]


class BindingStream:
    """The changes after a position, as they are made."""

    has_end, may_resume = False, True

    def __init__(self, terms: Terms, after_position: str) -> None:
        self._terms = terms
        self._position = after_position
        self._parts: list[messages.WatchBindingsResponse] = []

    def request(self) -> messages.WatchBindingsRequest:
        self._parts = []
        return self._terms.bind(messages.WatchBindingsRequest(after_position=self._position))

    def read(self, response: messages.WatchBindingsResponse) -> list[WatchedChange]:
        self._parts.append(response)
        if not response.position:
            return []
        parts, self._parts, self._position = self._parts, [], response.position
        change = response.change
        granted, revoked, ended = (
            tuple(_binding(row) for part in parts for row in getattr(part, field))
            for field in ("granted", "revoked", "ended")
        )
        return [
            WatchedChange(
                response.position,
                change.change,
                change.time_us,
                change.caller,
                change.granter,
                change.reason,
                granted,
                revoked,
                ended,
            )
        ]


def _binding(row: messages.RuntimeRow) -> RuntimeBinding:
    return RuntimeBinding(row.member, row.holds, row.scope, row.expires_us)
