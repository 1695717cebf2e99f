"""The OpenAPI document of the AuthZEN API, made from the types that requests and answers have."""

import json
from functools import cache
from typing import Any, Final

import msgspec

from remit.authzen.answers import (
    ActionSearchAnswer,
    AuthzenDecision,
    EvaluationsAnswer,
    Problem,
    SubjectOrResourceSearchAnswer,
)
from remit.authzen.bodies import ActionSearch, Evaluation, Evaluations, ResourceSearch, SubjectSearch
from remit.authzen.metadata import API, WELL_KNOWN, Metadata
from remit.service.version import VERSION

OPENAPI_PATH: Final = f"/{API}/openapi.json"
_REFERENCE: Final = "#/components/schemas/{name}"


_CALLS: Final = {
    "evaluation": ("May the subject do the action on the resource?", Evaluation, (AuthzenDecision,)),
    "evaluations": (
        "Several evaluations in one request. Without items, a single one.",
        Evaluations,
        (EvaluationsAnswer, AuthzenDecision),
    ),
    "search/subject": ("Who may do this?", SubjectSearch, (SubjectOrResourceSearchAnswer,)),
    "search/resource": (
        "On which resources may the subject do this?",
        ResourceSearch,
        (SubjectOrResourceSearchAnswer,),
    ),
    "search/action": ("What may the subject do on this resource?", ActionSearch, (ActionSearchAnswer,)),
}
_PROBLEMS: Final = {
    "400": "The request is malformed.",
    "401": "The caller shows no credential that counts.",
    "403": "The caller may not ask this about this tenant.",
    "412": "The revision of `Remit-Revision` or the position of `Remit-At-Least` does not serve.",
    "413": "The request is too large.",
    "429": "A limit is reached.",
    "503": "No answer now: the tenant has no policy that loads, or the record cannot be written.",
}


def _header(name: str, text: str, *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": required, "description": text, "schema": {"type": "string"}}


_REQUEST_HEADERS: Final = [
    _header("X-Request-ID", "Comes back in the answer."),
    _header("Remit-Revision", "Only this revision of the policy may answer."),
    _header("Remit-At-Least", "Only a policy at this position of the tenant's history or later may answer."),
    _header("traceparent", "W3C Trace Context: its trace id is recorded."),
]
_TENANT: Final = {
    "name": "tenant",
    "in": "path",
    "required": True,
    "description": "The tenant that is asked about.",
    "schema": {"type": "string"},
}


@cache
def openapi_document() -> bytes:
    """The document, as JSON."""
    bodies = [body for _, body, _ in _CALLS.values()]
    answers = [answer for *_, answers in _CALLS.values() for answer in answers]
    _, components = msgspec.json.schema_components([*bodies, *answers, Metadata, Problem], ref_template=_REFERENCE)
    paths: dict[str, Any] = {}
    for end, (summary, body, answered) in _CALLS.items():
        call = _call(end, summary, body, answered)
        paths[f"/tenants/{{tenant}}/{API}/{end}"] = {"parameters": [_TENANT], "post": call}
        name = f"{call['operationId']}OfDefaultTenant"
        paths[f"/{API}/{end}"] = {"post": {**call, "operationId": name}}
    paths[f"{WELL_KNOWN}/tenants/{{tenant}}"] = {"parameters": [_TENANT], "get": _metadata("metadata")}
    paths[WELL_KNOWN] = {"get": _metadata("metadataOfDefaultTenant")}
    document = {
        "openapi": "3.1.0",
        "info": {"title": "remit: OpenID AuthZEN 1.0", "version": VERSION},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "certificate": {"type": "mutualTLS"},
            },
        },
        "security": [{"token": []}, {"certificate": []}, {}],
    }
    return json.dumps(document).encode()


def _call(end: str, summary: str, body: type, answers: tuple[type, ...]) -> dict[str, Any]:
    schemas = [_reference(each) for each in answers]
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    problems = {status: _response(text, _reference(Problem)) for status, text in _PROBLEMS.items()}
    return {
        "operationId": "".join(part.title() for part in end.split("/")),
        "summary": summary,
        "parameters": _REQUEST_HEADERS,
        "requestBody": {"required": True, "content": {"application/json": {"schema": _reference(body)}}},
        "responses": {"200": _response("The answer, after its record.", schema), **problems},
    }


def _metadata(operation: str) -> dict[str, Any]:
    found = _response("The metadata.", _reference(Metadata))
    missing = _response("No metadata here.", _reference(Problem))
    return {"operationId": operation, "security": [{}], "responses": {"200": found, "404": missing}}


def _response(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _reference(shape: type) -> dict[str, Any]:
    return {"$ref": _REFERENCE.format(name=shape.__name__)}
