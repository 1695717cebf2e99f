"""Answers to Envoy: what goes on to the service behind it, what goes back to the client, and what Envoy may log."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import grpc

from remit.audit.ids import format_id
from remit.core.names import Principal
from remit.envoy.v1 import ext_authz_pb2 as messages
from remit.service.decision_point import CheckAnswer

PRINCIPAL: Final = "x-remit-principal"
TENANT: Final = "x-remit-tenant"
DECISION_ID: Final = "x-remit-decision-id"

_OVERWRITE: Final = 2
_CODES: Final = {
    HTTPStatus.BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT.value[0],
    HTTPStatus.UNAUTHORIZED: grpc.StatusCode.UNAUTHENTICATED.value[0],
    HTTPStatus.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED.value[0],
}


def decided(tenant: str, principal: Principal, answer: CheckAnswer) -> messages.CheckResponse:
    decision, revision = answer.decision, answer.revision
    decision_id = format_id(answer.decision_id)
    _, reason, _ = decision.recorded
    told = {"decision_id": decision_id, "reason": reason, "revision": revision, "tenant": tenant}
    if not decision.allowed:
        body = {"reason": reason, "decision_id": decision_id}
        return _denied(HTTPStatus.FORBIDDEN, body, {DECISION_ID: decision_id}, told)
    response = messages.CheckResponse(status=messages.Status())
    sent = {PRINCIPAL: principal, TENANT: tenant, DECISION_ID: decision_id}
    response.ok_response.headers.extend(_headers(sent))
    _tell(response, told)
    return response


def refused(status: HTTPStatus, error: str, tenant: str) -> messages.CheckResponse:
    """Denies a request about which nothing was decided."""
    headers = {"www-authenticate": "Bearer"} if status is HTTPStatus.UNAUTHORIZED else {}
    return _denied(status, {"error": error}, headers, {"error": error, "tenant": tenant})


def _denied(
    status: HTTPStatus, body: Mapping[str, str], headers: Mapping[str, str], told: Mapping[str, str]
) -> messages.CheckResponse:
    response = messages.CheckResponse(status=messages.Status(code=_CODES[status]))
    denied = response.denied_response
    denied.status.code = status
    denied.headers.extend(_headers({"content-type": "application/json", **headers}))
    denied.body = json.dumps(body)
    _tell(response, told)
    return response


def _headers(values: Mapping[str, str]) -> list[messages.HeaderValueOption]:
    return [
        messages.HeaderValueOption(header=messages.HeaderValue(key=key, value=value.encode()), append_action=_OVERWRITE)
        for key, value in values.items()
    ]


def _tell(response: messages.CheckResponse, told: Mapping[str, str]) -> None:
    fields = response.dynamic_metadata.fields
    for key, value in told.items():
        fields[key].string_value = value
