"""The binding service over gRPC."""

from collections.abc import Iterable, Iterator
from threading import Event, Lock
from time import monotonic
from typing import Final

import grpc

from remit.audit.chain.chain import Head
from remit.core.caller_actions import CallerAction
from remit.core.errors import named, violation
from remit.core.names import Subject, Tenant, parse_tenant
from remit.core.runtime import RuntimeRow
from remit.engine.diff import AccessChange
from remit.fleet import binding_reads
from remit.fleet.binding_reads import GrantAbout, PassedChange
from remit.fleet.bindings import GrantedRow, RowKey
from remit.fleet.change import position_of
from remit.rpc.binding_requests import ImportUpload, granter_in, position_in, require_named, rows_in
from remit.rpc.call_context import caller, still_called
from remit.rpc.errors import CrowdedError, RequestsLateError, StoppingError
from remit.rpc.page_token import paged
from remit.rpc.query_servicer import Origin, call_terms, require_origin
from remit.service.bindings.imports import IMPORT_S
from remit.service.bindings.point import ROWS_LIMIT, BindingRequest
from remit.service.bindings.services import BindingServices
from remit.service.decision_point import CallTerms
from remit.service.errors import NoBindingsError
from remit.service.node import ServerNode
from remit.v1 import binding_service_pb2 as messages
from remit.v1 import binding_service_pb2_grpc

_PART: Final = 1_000
"""Rows of a message of a watch."""
_EXPORT_S: Final = 600.0
"""The longest that an export takes."""


class WatcherGoneError(Exception):
    """The reader of a watch has left."""


class BindingServicer(binding_service_pb2_grpc.BindingServiceServicer):
    """Grants and revokes at run time, and what others hear of them. Watchers do not delay a stop."""

    def __init__(self, node: ServerNode, *, call_timeout_s: float) -> None:
        self._node = node
        self._call_timeout_s = call_timeout_s
        self._closing = Event()
        self._importing = Lock()

    def close(self) -> None:
        """Ends the watchers' streams with UNAVAILABLE."""
        self._closing.set()
        self._node.live.wake()

    def ChangeBindings(
        self, request: messages.ChangeBindingsRequest, context: grpc.ServicerContext
    ) -> messages.ChangeBindingsResponse:
        asked = _request(request)
        require_origin("origin", request.origin)
        terms = _terms(request.origin, context, self._call_timeout_s)
        outcome = self._services.point.change(asked, terms)
        return messages.ChangeBindingsResponse(
            position=str(outcome.position),
            already=[_key_to(each) for each in outcome.already],
            repeated_request=outcome.repeated,
            effects=[_effect_to(each) for each in outcome.effects],
            note=outcome.note,
        )

    def ImportBindings(
        self, requests: Iterator[messages.ImportBindingsRequest], context: grpc.ServicerContext
    ) -> messages.ImportBindingsResponse:
        services, until_s = self._services, monotonic() + IMPORT_S
        # Each holds all its rows.
        if not self._importing.acquire(blocking=False):
            raise CrowdedError("another import is at work (imports): try again")
        try:
            upload = ImportUpload(requests, until_s)
            request = upload.request()
            terms = _terms(upload.origin, context, until_s - monotonic())
            outcome = services.imports.load(request, terms)
        finally:
            self._importing.release()
        return messages.ImportBindingsResponse(
            position=str(outcome.position),
            granted=outcome.granted,
            revoked=outcome.revoked,
            already=outcome.already,
            repeated_request=outcome.repeated,
        )

    def ListBindings(
        self, request: messages.ListBindingsRequest, context: grpc.ServicerContext
    ) -> messages.ListBindingsResponse:
        del context
        tenant = named("tenant", parse_tenant, request.tenant)
        size, page = paged(request)
        after = _key_in(page.after) if page.after else None
        found = binding_reads.page(
            self._services.store, tenant, size + 1, after=after, member=request.member, holds=request.holds
        )
        shown = found.rows[:size]
        return messages.ListBindingsResponse(
            rows=[_granted_to(each) for each in shown],
            next_page_token=page.next("\n".join(RowKey.of(shown[-1].row))) if len(found.rows) > size else "",
            position=_position_text(tenant, found.head),
        )

    def ExportBindings(
        self, request: messages.ExportBindingsRequest, context: grpc.ServicerContext
    ) -> Iterator[messages.ExportBindingsResponse]:
        tenant = named("tenant", parse_tenant, request.tenant)
        until_s = monotonic() + min(context.time_remaining(), _EXPORT_S)
        for page in binding_reads.export(self._services.store, tenant):
            if monotonic() > until_s:
                # A reader that is slow holds a transaction of the store.
                raise RequestsLateError(f"the rows were not read within {_EXPORT_S:g} s")
            yield messages.ExportBindingsResponse(
                position=_position_text(tenant, page.head),
                rows=[_granted_to(each) for each in page.rows],
                changes=[_about_to(each) for each in page.changes],
            )

    def WatchBindings(
        self, request: messages.WatchBindingsRequest, context: grpc.ServicerContext
    ) -> Iterator[messages.WatchBindingsResponse]:
        tenant = named("tenant", parse_tenant, request.tenant)
        after = position_in("after_position", request.after_position, tenant)
        asking, still_called_ = caller.get(), still_called.get()

        def go_on() -> None:
            if self._closing.is_set():
                raise StoppingError("the server is stopping")
            if not context.is_active():
                raise WatcherGoneError
            still_called_()
            self._node.rights.require(asking, CallerAction.WHO, tenant)

        # Wake the watch when its reader leaves: it still waits for a change.
        if not context.add_callback(self._node.live.wake):
            return
        try:
            for found in self._services.watch(tenant, after, go_on):
                for each in found:
                    yield from _change_to(tenant, each)
        except WatcherGoneError:
            return

    @property
    def _services(self) -> BindingServices:
        services = self._node.bindings
        if services is None:
            raise NoBindingsError("this server has no policy store: nothing is granted at run time")
        return services


def _terms(origin: Origin, context: grpc.ServicerContext, timeout_s: float) -> CallTerms:
    return call_terms(context, timeout_s, on_behalf_of=origin.on_behalf_of, trace_id=origin.trace_id)


def _request(request: messages.ChangeBindingsRequest) -> BindingRequest:
    """Raises MalformedQuestionError."""
    tenant = named("tenant", parse_tenant, request.tenant)
    count = len(request.grants) + len(request.revokes) + len(request.must_exist) + len(request.must_not_exist)
    if count > ROWS_LIMIT:
        raise violation("grants", f"there are {count} rows in all: expected at most {ROWS_LIMIT}")
    if not request.grants and not request.revokes:
        raise violation("grants", "is empty, and so is `revokes`: say what to change")
    require_named(request.request_id, request.reason)
    expected = position_in("expected_position", request.expected_position, tenant)
    return BindingRequest(
        tenant,
        granter_in("granter", request.granter),
        grants=tuple(rows_in("grants", request.grants)),
        revokes=tuple(_keys("revokes", request.revokes)),
        expected=expected,
        must_exist=tuple(_keys("must_exist", request.must_exist)),
        must_not_exist=tuple(_keys("must_not_exist", request.must_not_exist)),
        request_id=request.request_id,
        reason=request.reason,
        dry_run=request.dry_run,
    )


def _keys(field: str, rows: Iterable[messages.RuntimeRow]) -> list[RowKey]:
    return [RowKey.of(row) for row in rows_in(field, rows)]


def _key_in(text: str) -> RowKey:
    """The last row of a page, as a token has it. Raises MalformedQuestionError."""
    member, _, rest = text.partition("\n")
    holds, _, scope = rest.partition("\n")
    if not scope:
        raise violation("page_token", "is not one that this service gave")
    return RowKey(Subject(member), Subject(holds), scope)


def _position_text(tenant: Tenant, head: Head) -> str:
    return str(position_of(tenant, head)) if head.seq else ""


def _granted_to(granted: GrantedRow) -> messages.GrantedRow:
    return messages.GrantedRow(row=_row_to(granted.row), change=granted.seq)


def _about_to(about: GrantAbout) -> messages.GrantingChange:
    return messages.GrantingChange(
        change=about.seq, time_us=about.time_us, caller=about.caller, granter=about.granter, reason=about.reason
    )


def _change_to(tenant: Tenant, passed: PassedChange) -> Iterator[messages.WatchBindingsResponse]:
    """The change in parts, the last of which has the position."""
    change, about = passed.change, _about_to(passed.about)
    parts = [
        *(("granted", _row_to(row)) for row in change.granted),
        *(("revoked", _key_to(key)) for key in change.revoked),
        *(("ended", _key_to(key)) for key in change.ended),
    ]
    for begin in range(0, max(len(parts), 1), _PART):
        part = messages.WatchBindingsResponse(change=about)
        for field, row in parts[begin : begin + _PART]:
            getattr(part, field).append(row)
        if begin + _PART >= len(parts):
            part.position = str(position_of(tenant, passed.head))
        yield part


def _row_to(row: RuntimeRow) -> messages.RuntimeRow:
    shown = _key_to(RowKey.of(row))
    shown.expires_us = row.expires_us or 0
    return shown


def _key_to(key: RowKey) -> messages.RuntimeRow:
    return messages.RuntimeRow(member=key.member, holds=key.holds, scope="" if key.scope == "**" else key.scope)


def _effect_to(change: AccessChange) -> messages.BindingEffect:
    return messages.BindingEffect(
        direction=change.direction,
        principals=change.principals,
        permissions=[f"{kind} {action}" for kind, action in change.permissions],
        namespaces=[str(each) for each in change.where.namespaces],
        tenant_itself=change.where.tenant_itself,
    )
