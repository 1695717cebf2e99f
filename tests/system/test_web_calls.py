"""What another API over HTTP gets from `remit.web`: calls that are no methods of the protos, inside the boundary."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from support.server import DEADLINE_S

from remit.audit.errors import JournalUnavailable
from remit.core.caller_actions import CallerAction
from remit.core.errors import named, violation
from remit.core.names import parse_tenant
from remit.core.question import parse_question
from remit.rpc.boundary import CallMethod
from remit.rpc.call_context import CallContext, caller
from remit.rpc.rights import Demand
from remit.rpc.server import Server
from remit.service.decision_point import CallOrigin, CallTerms, PendingAnswer
from remit.service.node import ServerNode
from remit.service.settings_reader import read_settings
from remit.service.workers.process_settings import ProcessSettings
from remit.web.asgi import Receive, Scope, Send, respond
from remit.web.calls import HttpCalls, read_body
from remit.web.refusal import RefusedCall
from remit.web.router import Router
from remit.web.server import WebServer

MOST_BYTES = 10_000
MOST_CALLS = 8


class Asked(NamedTuple):
    tenant: str
    principal: str


def parsed(message: tuple[str, bytes]) -> Asked:
    tenant, body = message
    try:
        return Asked(tenant, json.loads(body)["principal"])
    except (ValueError, KeyError):
        raise violation("principal", "is missing") from None


class Room:
    """An API of its own: `POST /may-view/TENANT` with a principal, and the same in a thread."""

    def __init__(self, node: ServerNode, calls: HttpCalls, classes: Any) -> None:
        self._node = node
        self._calls = calls
        shape: dict[str, Any] = {"parse": parsed, "serialize": bytes, "demand": Demand((CallerAction.CHECK,))}
        quick = CallMethod("Room/MayView", self._blocking, classes.decisions, at_once=self._at_once, **shape)
        slow = CallMethod("Room/MayViewSlowly", self._blocking, classes.queries, **shape)
        self._methods = {"may-view": calls.bind(quick), "may-view-slowly": calls.bind(slow)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        _, first, tenant = scope["path"].split("/")
        try:
            body = await read_body(receive, MOST_BYTES)
            answer = await self._calls.answer(self._methods[first], (tenant, body), scope)
        except RefusedCall as refused:
            headers = [(name.encode(), value.encode()) for name, value in refused.headers]
            await respond(send, refused.http_status, refused.text.encode(), headers)
        else:
            await respond(send, 200, answer)

    def _at_once(self, asked: Asked, context: CallContext) -> PendingAnswer[bytes]:
        terms = CallTerms(CallOrigin(caller.get().principal), timeout_s=min(context.time_remaining(), 5.0))
        question = parse_question(asked.principal, "VIEW", "FLOW", "acme.data")
        pending = self._node.point.check(named("tenant", parse_tenant, asked.tenant), (question, ""), terms)
        return pending.with_answer(pending.answer.decision.effect.encode())

    def _blocking(self, asked: Asked, context: CallContext) -> bytes:
        return self._node.point.commit(self._at_once(asked, context))


class Served(NamedTuple):
    node: ServerNode
    grpc: Server
    http: httpx.Client


@pytest.fixture
def served(untested: Path, tmp_path: Path) -> Iterator[Served]:
    flags = {"policies": untested, "audit": f"sqlite:///{tmp_path / 'audit.db'}", "listen": "127.0.0.1:0"}
    flags |= {"http": "127.0.0.1:0", "metrics": "", "revisions": "", "watch": False}
    flags |= {"max_calls": MOST_CALLS, "grace_s": 1.0}
    node = ServerNode.start(ProcessSettings.single(read_settings(flags)))
    grpc_server = Server(node)
    calls = HttpCalls(grpc_server.boundary, grpc_server.expiry)
    router, room = Router([]), Room(node, calls, grpc_server.classes)
    for first in ("may-view", "may-view-slowly"):
        router.mount(first, room)
    web = WebServer(node.settings, router).start()
    with httpx.Client(base_url=f"http://127.0.0.1:{web.port}", timeout=DEADLINE_S) as http:
        yield Served(node, grpc_server, http)
    web.stop()
    grpc_server.start().stop()


def recorded(node: ServerNode) -> list[tuple[str, str]]:
    return [(each.tenant, each.principal) for each in node.records.all_decisions()]


@pytest.mark.parametrize("path", ["may-view", "may-view-slowly"])
def test_call_of_another_api_is_answered_after_its_record(served: Served, path: str) -> None:
    answered = served.http.post(f"/{path}/acme", json={"principal": "user:nobody"})

    assert (200, "deny") == (answered.status_code, answered.text)
    assert [("acme", "user:nobody")] == recorded(served.node)


@pytest.mark.parametrize("path", ["may-view", "may-view-slowly"])
def test_call_of_another_api_gets_the_statuses_of_the_boundary(served: Served, path: str) -> None:
    malformed = served.http.post(f"/{path}/acme", json={})
    no_tenant = served.http.post(f"/{path}/ACME!", json={"principal": "user:nobody"})
    long = served.http.post(f"/{path}/acme", content=b"x" * (MOST_BYTES + 1))

    assert (400, "principal: is missing") == (malformed.status_code, malformed.text)
    assert 400 == no_tenant.status_code
    assert no_tenant.text.startswith("tenant:")
    assert (413, f"the request has more than {MOST_BYTES} bytes") == (long.status_code, long.text)
    assert [] == recorded(served.node)


@pytest.mark.parametrize("path", ["may-view", "may-view-slowly"])
def test_call_of_another_api_is_not_answered_without_its_record(
    served: Served, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bool:
        raise JournalUnavailable("the disk is full", "ENOSPC")

    monkeypatch.setattr(served.node.journal, "offer_then", refuse)
    monkeypatch.setattr(served.node.journal, "offer", refuse)
    refused = served.http.post(f"/{path}/acme", json={"principal": "user:nobody"})

    assert 503 == refused.status_code
    assert "1" == refused.headers["retry-after"]
    assert "ENOSPC" not in refused.text


@pytest.mark.parametrize(("path", "calls"), [("may-view", "calls"), ("may-view-slowly", "queries")])
def test_call_of_another_api_without_a_place_is_refused_and_counted(served: Served, path: str, calls: str) -> None:
    """It shares the places with the calls of the protos."""
    places = served.grpc.classes.decisions.places
    for _ in range(MOST_CALLS):
        places.enter("")
    refused = served.http.post(f"/{path}/acme", json={"principal": "user:nobody"})
    for _ in range(MOST_CALLS):
        places.leave("")
    answered = served.http.post(f"/{path}/acme", json={"principal": "user:nobody"})
    counted = served.node.metrics.registry.get_sample_value(
        "remit_calls_refused_total", {"calls": calls, "reason": "places"}
    )

    assert [429, 200] == [refused.status_code, answered.status_code]
    assert 1 == counted
    assert 0 == places.count
