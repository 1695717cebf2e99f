"""The calls about rows of run time: how to build each request and read its response."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple
from uuid import uuid4

from remit.client.call import ClientCall, Pages, ResultPage, Upload
from remit.client.questions import RuntimeBinding
from remit.v1 import binding_service_pb2 as messages
from remit.v1.decision_pb2 import Origin

_MESSAGE_ROWS: Final = 2_000
"""Rows of a message of an import."""


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


def change_bindings(
    tenant: str,
    grants: Sequence[RuntimeBinding] = (),
    revokes: Sequence[RuntimeBinding] = (),
    *,
    granter: str = "",
    reason: str = "",
    expected_position: str = "",
    must_exist: Sequence[RuntimeBinding] = (),
    must_not_exist: Sequence[RuntimeBinding] = (),
    request_id: str = "",
    dry_run: bool = False,
    on_behalf_of: str = "",
    trace_id: str = "",
) -> ClientCall[messages.ChangeBindingsResponse, messages.ChangeBindingsResponse]:
    # The client may send the request again, if no answer comes.
    name = request_id or uuid4().hex
    return ClientCall(
        lambda: messages.ChangeBindingsRequest(
            tenant=tenant,
            grants=_rows(grants),
            revokes=_rows(revokes),
            granter=granter,
            expected_position=expected_position,
            must_exist=_rows(must_exist),
            must_not_exist=_rows(must_not_exist),
            request_id=name,
            reason=reason,
            dry_run=dry_run,
            origin=Origin(on_behalf_of=on_behalf_of, trace_id=trace_id),
        ),
        lambda response: response,
    )


def list_bindings(tenant: str, member: str = "", holds: str = "", *, page_size: int = 0) -> Pages[messages.GrantedRow]:
    def page(token: str) -> ClientCall[messages.ListBindingsResponse, ResultPage[messages.GrantedRow]]:
        return ClientCall(
            lambda: messages.ListBindingsRequest(
                tenant=tenant, member=member, holds=holds, page_size=page_size, page_token=token
            ),
            lambda response: ResultPage(response.rows, response.next_page_token),
        )

    return page


def import_bindings(
    tenant: str,
    rows: Iterable[RuntimeBinding],
    *,
    granter: str = "",
    reason: str = "",
    replace: bool = False,
    expected_position: str = "",
    request_id: str = "",
    dry_run: bool = False,
    timeout_s: float = 600.0,
    on_behalf_of: str = "",
    trace_id: str = "",
) -> Upload[messages.ImportBindingsResponse, messages.ImportBindingsResponse]:
    def requests() -> Iterator[messages.ImportBindingsRequest]:
        start = messages.ImportStart(
            tenant=tenant,
            granter=granter,
            reason=reason,
            request_id=request_id,
            expected_position=expected_position,
            replace=replace,
            dry_run=dry_run,
            origin=Origin(on_behalf_of=on_behalf_of, trace_id=trace_id),
        )
        return _import(messages.ImportBindingsRequest(start=start), iter(rows))

    name = messages.ImportBindingsRequest.DESCRIPTOR.full_name
    return Upload(requests, name, lambda response: response, timeout_s)


def _import(
    first: messages.ImportBindingsRequest, rows: Iterator[RuntimeBinding]
) -> Iterator[messages.ImportBindingsRequest]:
    yield first
    sent = 0
    while part := _rows(list(islice(rows, _MESSAGE_ROWS))):
        sent += len(part)
        yield messages.ImportBindingsRequest(rows=messages.ImportRows(rows=part))
    yield messages.ImportBindingsRequest(end=messages.ImportEnd(rows=sent))


class ExportStream:
    """The rows that are in force at one position."""

    has_end = True

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant
        self.may_resume = True

    def request(self) -> messages.ExportBindingsRequest:
        return messages.ExportBindingsRequest(tenant=self._tenant)

    def read(self, response: messages.ExportBindingsResponse) -> list[GrantedBinding]:
        # Another stream may have another position.
        self.may_resume = False
        about = {each.change: each for each in response.changes}
        return [
            GrantedBinding(
                _binding(each.row),
                each.change,
                about[each.change].time_us,
                about[each.change].caller,
                about[each.change].granter,
                about[each.change].reason,
                response.position,
            )
            for each in response.rows
        ]


class BindingStream:
    """The changes after a position, as they are made."""

    has_end, may_resume = False, True

    def __init__(self, tenant: str, after_position: str) -> None:
        self._tenant = tenant
        self._position = after_position
        self._parts: list[messages.WatchBindingsResponse] = []

    def request(self) -> messages.WatchBindingsRequest:
        self._parts = []
        return messages.WatchBindingsRequest(tenant=self._tenant, after_position=self._position)

    def read(self, response: messages.WatchBindingsResponse) -> list[WatchedChange]:
        self._parts.append(response)
        if not response.position:
            return []
        parts, self._parts, self._position = self._parts, [], response.position
        about = response.change
        granted, revoked, ended = (
            tuple(_binding(row) for part in parts for row in getattr(part, field))
            for field in ("granted", "revoked", "ended")
        )
        return [
            WatchedChange(
                response.position,
                about.change,
                about.time_us,
                about.caller,
                about.granter,
                about.reason,
                granted,
                revoked,
                ended,
            )
        ]


def _binding(row: messages.RuntimeRow) -> RuntimeBinding:
    return RuntimeBinding(row.member, row.holds, row.scope, row.expires_us)


def _rows(rows: Sequence[RuntimeBinding]) -> list[messages.RuntimeRow]:
    return [
        messages.RuntimeRow(member=each.member, holds=each.holds, scope=each.scope, expires_us=each.expires_us)
        for each in rows
    ]
