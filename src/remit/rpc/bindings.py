"""The binding service over gRPC."""

import re
from collections.abc import Iterable
from typing import Final

import grpc

from remit.core.errors import FieldViolation, InvalidNameError, MalformedQuestionError, malformed, named, violation
from remit.core.names import parse_principal, parse_tenant
from remit.core.position import parse_position
from remit.core.runtime import RuntimeRow, parse_runtime_row
from remit.engine.diff import AccessChange
from remit.fleet.bindings import RowKey
from remit.rpc.call_context import caller
from remit.rpc.page_token import paged
from remit.rpc.query_servicer import call_terms, is_trace_id
from remit.service.bindings import ROWS_LIMIT, BindingPoint, BindingRequest
from remit.service.errors import NoBindingsError
from remit.service.node import ServerNode
from remit.v1 import binding_service_pb2 as messages
from remit.v1 import binding_service_pb2_grpc

_REASON_LIMIT: Final = 512
_is_request_id = re.compile(r"[!-~]{1,64}").fullmatch


class BindingServicer(binding_service_pb2_grpc.BindingServiceServicer):
    """Grants and revokes at run time."""

    def __init__(self, node: ServerNode, *, call_timeout_s: float) -> None:
        self._node = node
        self._call_timeout_s = call_timeout_s

    def ChangeBindings(
        self, request: messages.ChangeBindingsRequest, context: grpc.ServicerContext
    ) -> messages.ChangeBindingsResponse:
        origin = request.origin
        if origin.on_behalf_of:
            named("origin.on_behalf_of", parse_principal, origin.on_behalf_of)
        if origin.trace_id and not is_trace_id(origin.trace_id):
            raise violation("origin.trace_id", "expected at most 64 printable ASCII characters without blanks")
        asked = _request(request)
        terms = call_terms(context, self._call_timeout_s, on_behalf_of=origin.on_behalf_of, trace_id=origin.trace_id)
        outcome = self._point.change(asked, terms)
        return messages.ChangeBindingsResponse(
            position=str(outcome.position),
            already=[_key_to(each) for each in outcome.already],
            repeated_request=outcome.repeated,
            effects=[_effect_to(each) for each in outcome.effects],
        )

    def ListBindings(
        self, request: messages.ListBindingsRequest, context: grpc.ServicerContext
    ) -> messages.ListBindingsResponse:
        del context
        tenant = named("tenant", parse_tenant, request.tenant)
        size, page = paged(request)
        position, rows = self._point.rows(tenant)
        found = [
            each
            for each in rows
            if request.member in {"", each.row.member}
            and request.holds in {"", each.row.holds}
            and _sorted_as(each.row) > page.after
        ]
        shown = found[:size]
        return messages.ListBindingsResponse(
            rows=[messages.GrantedRow(row=_row_to(each.row), change=each.seq) for each in shown],
            next_page_token=page.next(_sorted_as(shown[-1].row)) if len(found) > size else "",
            position=str(position) if position is not None else "",
        )

    @property
    def _point(self) -> BindingPoint:
        point = self._node.bindings
        if point is None:
            raise NoBindingsError("this server has no policy store: nothing is granted at run time")
        return point


def _request(request: messages.ChangeBindingsRequest) -> BindingRequest:
    """Raises MalformedQuestionError."""
    tenant = named("tenant", parse_tenant, request.tenant)
    count = len(request.grants) + len(request.revokes) + len(request.must_exist) + len(request.must_not_exist)
    if count > ROWS_LIMIT:
        raise violation("grants", f"there are {count} rows in all: expected at most {ROWS_LIMIT}")
    if not request.grants and not request.revokes:
        raise violation("grants", "is empty, and so is `revokes`: say what to change")
    if request.request_id and not _is_request_id(request.request_id):
        raise violation("request_id", "expected at most 64 printable ASCII characters without blanks")
    if not request.reason.isprintable() or len(request.reason) > _REASON_LIMIT:
        raise violation("reason", f"expected at most {_REASON_LIMIT} printable characters")
    expected = (
        named("expected_position", parse_position, request.expected_position) if request.expected_position else None
    )
    if expected is not None and expected.tenant != tenant:
        raise violation("expected_position", f"is of tenant `{expected.tenant}`, and the request is about `{tenant}`")
    return BindingRequest(
        tenant,
        named("granter", parse_principal, request.granter or caller.get().principal),
        grants=tuple(_rows("grants", request.grants)),
        revokes=tuple(_keys("revokes", request.revokes)),
        expected=expected,
        must_exist=tuple(_keys("must_exist", request.must_exist)),
        must_not_exist=tuple(_keys("must_not_exist", request.must_not_exist)),
        request_id=request.request_id,
        reason=request.reason,
        dry_run=request.dry_run,
    )


def _rows(field: str, rows: Iterable[messages.RuntimeRow]) -> list[RuntimeRow]:
    """Raises MalformedQuestionError with every field of every row that is wrong."""
    found: list[RuntimeRow] = []
    violations: list[FieldViolation] = []
    for number, row in enumerate(rows):
        try:
            found.append(parse_runtime_row(row.member, row.holds, row.scope, row.expires_us or None))
        except MalformedQuestionError as error:
            violations += [
                FieldViolation(f"{field}[{number}].{each.field}", each.description) for each in error.violations
            ]
        except InvalidNameError as error:
            violations.append(malformed(f"{field}[{number}]", error))
        if row.expires_us < 0:
            violations.append(FieldViolation(f"{field}[{number}].expires_us", "expected microseconds since 1970, or 0"))
    if violations:
        raise MalformedQuestionError(*violations)
    return found


def _keys(field: str, rows: Iterable[messages.RuntimeRow]) -> list[RowKey]:
    return [RowKey.of(row) for row in _rows(field, rows)]


def _sorted_as(row: RuntimeRow) -> str:
    return "\n".join(RowKey.of(row))


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
