"""OpenID AuthZEN 1.0 as an ASGI application."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final, NamedTuple

import msgspec

from remit.authzen.answers import AuthzenAnswer, Problem
from remit.authzen.metadata import API, metadata_of, well_known_tail
from remit.authzen.openapi import OPENAPI_PATH, openapi_document
from remit.authzen.requests import SentRequest
from remit.core.errors import InvalidNameError
from remit.core.names import is_revision, is_tenant
from remit.core.position import parse_position
from remit.rpc.boundary import CallMethod
from remit.rpc.query_servicer import is_trace_id
from remit.rpc.traceparent import TRACEPARENT
from remit.web.asgi import Receive, Scope, Send, respond
from remit.web.calls import HttpCalls, HttpMethod, read_body
from remit.web.refusal import RefusedCall

MOUNTED: Final = ("access", "tenants", ".well-known")
"""The first parts of the paths that are the application's."""
_QUICK_BYTES: Final = 8_192
"""Longer requests are parsed in a thread: the event loop serves every caller."""
_JSON: Final = (b"content-type", b"application/json")
_ECHOED: Final = b"x-request-id"
_CACHED: Final = (b"cache-control", b"max-age=300")
_CALL: Final = re.compile(rf"(?:/tenants/([^/]+))?/{API}/([a-z/]+)").fullmatch
_MEDIA_TYPE: Final = re.compile(rb"application/json[ \t]*(?:;.*)?", re.IGNORECASE).fullmatch
_CHARSET: Final = re.compile(rb'charset[ \t]*=[ \t]*"?([^";, ]*)', re.IGNORECASE).search
# A policy that does not serve is no mistake of the request.
_STATUSES: Final = {"FAILED_PRECONDITION": HTTPStatus.PRECONDITION_FAILED}

Headers = Sequence[tuple[bytes, bytes]]


class _Ends(NamedTuple):
    """A call for requests that are parsed at once, and for those that take long."""

    quick: HttpMethod
    in_thread: HttpMethod


class _ProblemError(Exception):
    """A request that is no call."""

    def __init__(self, status: int, text: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers


class AuthzenApplication:
    """The API of all tenants below `/tenants/TENANT`, and of the default tenant at the top.

    It serves below any path at which it is mounted. It hands each request to the boundary of the server's calls.
    """

    def __init__(
        self,
        calls: HttpCalls,
        methods: Mapping[str, CallMethod],
        *,
        default_tenant: str,
        base_url: str,
        max_message_bytes: int,
    ) -> None:
        """`methods` are the calls by the end of their paths. Without `base_url` there are no metadata."""
        self._calls = calls
        self._methods = {end: _Ends(calls.bind(each), calls.bind(each.in_thread())) for end, each in methods.items()}
        self._default_tenant = default_tenant
        self._base_url = base_url
        self._max_message_bytes = max_message_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        echoed = [(name, value) for name, value in scope["headers"] if name == _ECHOED]
        try:
            headers, body = await self._answer(scope, receive)
            status = 200
        except _ProblemError as problem:
            status, headers, body = problem.status, problem.headers, _problem(problem.status, str(problem))
        except RefusedCall as refused:
            status = _STATUSES.get(refused.code.name, refused.http_status)
            headers = [(name.encode(), value.encode()) for name, value in refused.headers]
            body = _problem(status, refused.text)
        await respond(send, status, body, [_JSON, *headers, *echoed])

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[Headers, bytes]:
        """Headers and body of an answer with status 200. Raises _ProblemError and RefusedCall."""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        tail = well_known_tail(path, self._base_url)
        if tail is not None:
            _require_method(scope, "GET")
            return [_CACHED], self._metadata(tail)
        if path == OPENAPI_PATH:
            _require_method(scope, "GET")
            return [_CACHED], openapi_document()
        found = _CALL(path)
        ends = self._methods.get(found[2]) if found is not None else None
        # An encoded path would be another name of the same thing: proxies may have rules about the first one.
        if found is None or ends is None or b"%" in scope.get("raw_path", b""):
            raise _ProblemError(HTTPStatus.NOT_FOUND, "there is no such path")
        tenant = found[1] or self._default_tenant
        if not tenant:
            raise _ProblemError(HTTPStatus.NOT_FOUND, f"there is no default tenant: ask at /tenants/TENANT/{API}/...")
        _require_method(scope, "POST")
        return await self._call(ends, tenant, scope, receive)

    async def _call(self, ends: _Ends, tenant: str, scope: Scope, receive: Receive) -> tuple[Headers, bytes]:
        revision = at_least = trace_id = content_type = b""
        traced = False
        for name, value in scope["headers"]:
            if name == b"content-type":
                content_type = value
            elif name == b"remit-revision":
                revision = value
            elif name == b"remit-at-least":
                at_least = value
            elif name == _ECHOED:
                trace_id = value
            elif name == TRACEPARENT.encode():
                traced = True
        _require_json(content_type)
        pinned = revision.decode("latin-1")
        if pinned and not is_revision(pinned):
            raise _ProblemError(HTTPStatus.BAD_REQUEST, "Remit-Revision: expected 64 lower-case hexadecimal digits")
        position = at_least.decode("latin-1")
        if position and not _is_position_of(tenant, position):
            expected = "expected a position of this tenant, as the header Remit-Position of an answer gives it"
            raise _ProblemError(HTTPStatus.BAD_REQUEST, f"Remit-At-Least: {expected}")
        body = await read_body(receive, self._max_message_bytes)
        trace = trace_id.decode("latin-1")
        sent = SentRequest(tenant, body, pinned, position, "" if traced or not is_trace_id(trace) else trace)
        method = ends.quick if len(body) <= _QUICK_BYTES else ends.in_thread
        answer: AuthzenAnswer = await self._calls.answer(method, sent, scope)
        return answer

    def _metadata(self, tail: str) -> bytes:
        """Every name of a tenant has metadata: who has no credential must not learn which tenants exist."""
        if not self._base_url:
            raise _ProblemError(HTTPStatus.NOT_FOUND, "there are no metadata without the setting `authzen_base_url`")
        kind, _, tenant = tail.partition("/")
        if tail and not (kind == "tenants" and is_tenant(tenant)):
            raise _ProblemError(HTTPStatus.NOT_FOUND, "there is no such decision point")
        if not tail and not self._default_tenant:
            raise _ProblemError(HTTPStatus.NOT_FOUND, "there is no default tenant")
        return metadata_of(self._base_url, tenant)


def _is_position_of(tenant: str, text: str) -> bool:
    try:
        return parse_position(text).tenant == tenant
    except InvalidNameError:
        return False


def _require_method(scope: Scope, method: str) -> None:
    if scope["method"] != method:
        text = f"the method is {scope['method']}: expected {method}"
        raise _ProblemError(HTTPStatus.METHOD_NOT_ALLOWED, text, (b"allow", method.encode()))


def _require_json(content_type: bytes) -> None:
    charset = _CHARSET(content_type)
    if not _MEDIA_TYPE(content_type) or (charset is not None and charset[1].lower() not in {b"utf-8", b"utf8"}):
        raise _ProblemError(HTTPStatus.BAD_REQUEST, "Content-Type: expected `application/json`, in UTF-8")


def _problem(status: int, text: str) -> bytes:
    return msgspec.json.encode(Problem(status, text))
