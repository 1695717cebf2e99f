"""Limits of callers and of tenants, over a real server in this process, whose limits a test sets."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from support.certificates import Authority, credentials_of
from support.clients import CONNECTS, Connect, patiently
from support.locks import locked
from support.questions import ALLOWED, check
from support.refusals import refusal
from support.server import DEADLINE_S, access_of, until

from remit.client import DecisionUnavailable, MutualTls
from remit.rpc import inline_calls
from remit.rpc.errors import Refusal
from remit.rpc.server import Server
from remit.service.identities.identities import Identities
from remit.service.limits import CallLimit, CallLimits
from remit.service.node import ServerNode
from remit.service.settings_reader import read_settings
from remit.service.workers.process_settings import ProcessSettings
from remit.v1 import (
    access_service_pb2,
    search_service_pb2,
    search_service_pb2_grpc,
    status_service_pb2,
    status_service_pb2_grpc,
)

PER_HOUR = 1 / 3600
"""A rate that gives nothing back while a test runs."""
_numbers = count()


class Caller:
    """A caller that has asked nothing yet."""

    def __init__(self, tls: MutualTls, name: str, target: str) -> None:
        self.tls = tls
        self.name = f"service:dns/{name}"
        self.channel = grpc.secure_channel(target, credentials_of(tls), [("grpc.enable_retries", 0)])
        self.access = access_of(self.channel)

    def check(self, tenant: str = "acme") -> Any:
        return self.access.Check(check(tenant=tenant), timeout=DEADLINE_S)

    def batch(self, questions: int, tenant: str = "acme") -> Any:
        request = access_service_pb2.BatchCheckRequest(tenant=tenant, questions=[ALLOWED] * questions)
        return self.access.BatchCheck(request, timeout=DEADLINE_S)

    def explain(self) -> Any:
        request = access_service_pb2.ExplainRequest(tenant="acme", question=ALLOWED)
        return self.access.Explain(request, timeout=DEADLINE_S)

    def list(self) -> Any:
        stub = search_service_pb2_grpc.SearchServiceStub(self.channel)
        request = search_service_pb2.ListActionsRequest(tenant="acme", principal="user:bob", namespace="acme.finance")
        return stub.ListActions(request, timeout=DEADLINE_S)


class Limited:
    """A server whose limits can be set."""

    def __init__(self, folder: Path, policies: Path, stack: ExitStack) -> None:
        self._authority = Authority(folder, trustme.CA())
        self._stack = stack
        cert, key = self._authority.signed("server", "127.0.0.1")
        self.database = folder / "audit.db"
        flags = {
            "tls_cert": cert,
            "tls_key": key,
            "tls_client_ca": self._authority.certificate,
            "metrics": "",
            "batch_limit": 1_000,
        }
        flags |= {"policies": policies, "audit": f"sqlite:///{self.database}", "listen": "127.0.0.1:0", "revisions": ""}
        self.node = ServerNode.start(ProcessSettings.single(read_settings({**flags, "watch": False})))
        server = Server(self.node).start()
        stack.callback(server.stop)
        self.target = f"127.0.0.1:{server.port}"

    @property
    def limits(self) -> CallLimits:
        """The limits in force, as a new version of the file `identities` would set them."""
        return self.node.identities.current.limits

    @limits.setter
    def limits(self, limits: CallLimits) -> None:
        self.node.identities._current = Identities(limits=limits)

    def caller(self) -> Caller:
        name = f"caller{next(_numbers)}.example"
        made = Caller(self._authority.caller(self._authority.signed(name, name)), name, self.target)
        self._stack.callback(made.channel.close)
        return made

    def limit(self, caller: Caller, limit: CallLimit) -> None:
        self.limits = CallLimits(callers={caller.name: limit})

    def refused(self, calls: str, reason: str) -> float:
        labels = {"calls": calls, "reason": reason}
        return self.node.metrics.registry.get_sample_value("remit_calls_refused_total", labels) or 0


@pytest.fixture(scope="module", params=["inline", "threads"])
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, untested: Path) -> Iterator[Any]:
    """With the private parts of grpcio, and without."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        if request.param == "threads":
            patch.setattr(inline_calls, "supported", lambda: False)
        yield Limited(tmp_path_factory.mktemp("limited"), untested, stack)


@pytest.fixture
def server(started: Limited) -> Iterator[Limited]:
    yield started
    started.limits = CallLimits()


def exhausted(call: Callable[[], Any]) -> tuple[str, float]:
    with pytest.raises(grpc.RpcError) as refused:
        call()
    assert grpc.StatusCode.RESOURCE_EXHAUSTED is refused.value.code(), refused.value
    assert "try again" in (refused.value.details() or "")
    return refusal(refused.value)


def test_a_caller_past_its_rate_is_told_when_to_try_again(server: Limited) -> None:
    """The others are not refused, nor are status and health: they show what is wrong."""
    shop, other = server.caller(), server.caller()
    server.limit(shop, CallLimit(PER_HOUR, 3))
    before = server.refused("calls", "caller rate")
    for _ in range(3):
        shop.check()
    reason, retry_s = exhausted(shop.check)
    assert Refusal.CALLER_RATE == reason
    assert 3500 < retry_s <= 3600
    assert before + 1 == server.refused("calls", "caller rate")
    for _ in range(5):
        other.check()
        status = status_service_pb2_grpc.StatusServiceStub(shop.channel)
        status.GetStatus(status_service_pb2.GetStatusRequest(), timeout=DEADLINE_S)
        HealthStub(shop.channel).Check(health_pb2.HealthCheckRequest(), timeout=DEADLINE_S)


def test_a_rate_gives_back(server: Limited) -> None:
    shop = server.caller()
    server.limit(shop, CallLimit(2, 1))
    shop.check()
    _, retry_s = exhausted(shop.check)
    assert 0 < retry_s <= 0.5
    time.sleep(retry_s)
    shop.check()


@pytest.mark.parametrize("questions", [5, 400], ids=["on the receiving thread", "in a thread"])
def test_a_batch_counts_as_its_questions_and_once(server: Limited, questions: int) -> None:
    shop = server.caller()
    server.limit(shop, CallLimit(PER_HOUR, 2 * questions))
    for _ in range(2):
        assert questions == len(shop.batch(questions).results)
    before = server.refused("calls", "caller rate")
    assert Refusal.CALLER_RATE == exhausted(lambda: shop.batch(1))[0]
    assert before + 1 == server.refused("calls", "caller rate")


def test_a_batch_longer_than_the_burst_is_answered_after_a_pause_and_paid_off(server: Limited) -> None:
    shop = server.caller()
    server.limit(shop, CallLimit(1, 10))
    assert 40 == len(shop.batch(40).results)
    _, retry_s = exhausted(shop.check)
    assert 29 < retry_s <= 31


@pytest.mark.parametrize("asks", [Caller.explain, Caller.list], ids=["explain", "list"])
def test_a_query_counts_as_ten_questions(server: Limited, asks: Callable[[Caller], Any]) -> None:
    shop = server.caller()
    server.limit(shop, CallLimit(PER_HOUR, 21))
    asks(shop)
    asks(shop)
    before = server.refused("queries", "caller rate")
    assert Refusal.CALLER_RATE == exhausted(lambda: asks(shop))[0]
    assert before + 1 == server.refused("queries", "caller rate")
    shop.check()


def test_a_caller_past_its_calls_in_flight_is_refused_until_one_ends(server: Limited) -> None:
    shop, other = server.caller(), server.caller()
    server.limit(shop, CallLimit(in_flight=2))
    with locked(server.database):
        waiting = [shop.access.Check.future(check(), timeout=DEADLINE_S) for _ in range(2)]
        until(lambda: server.node.journal.stats().queued == 2, "two are in flight")
        assert Refusal.IN_FLIGHT == exhausted(shop.check)[0]
        waiting.append(other.access.Check.future(check(), timeout=DEADLINE_S))
    assert 3 == len({each.result().decision.decision_id for each in waiting})
    until(lambda: not server.node.journal.stats().queued, "they have ended")
    for _ in range(5):
        shop.check()


def test_a_tenant_past_its_limit_refuses_every_caller_and_no_other_tenant_does(server: Limited) -> None:
    callers = [server.caller() for _ in range(3)]
    server.limits = CallLimits(tenants={"acme": CallLimit(PER_HOUR, 4)})
    callers[0].batch(2)
    callers[1].check()
    callers[1].check()
    before = server.refused("calls", "tenant rate")
    for each in callers:
        assert Refusal.TENANT_RATE == exhausted(each.check)[0]
        each.check("globex")
    assert before + 3 == server.refused("calls", "tenant rate")
    assert Refusal.TENANT_RATE == exhausted(callers[2].list)[0]


def test_a_tenant_has_calls_in_flight_too(server: Limited) -> None:
    shop, other = server.caller(), server.caller()
    server.limits = CallLimits(tenants={"globex": CallLimit(in_flight=1)})
    with locked(server.database):
        waiting = shop.access.Check.future(check(tenant="globex"), timeout=DEADLINE_S)
        until(lambda: server.node.journal.stats().queued == 1, "it is in flight")
        assert Refusal.IN_FLIGHT == exhausted(lambda: other.check("globex"))[0]
    assert waiting.result().decision.decision_id
    until(lambda: not server.node.journal.stats().queued, "it has ended")
    other.check("globex")
    other.batch(400, "globex")
    other.check("globex")


def test_tenants_that_are_not_configured_share_one_limit(server: Limited) -> None:
    """Else names that callers invent would each have one, and each take memory."""
    shop = server.caller()
    server.limits = CallLimits(tenants={"default": CallLimit(PER_HOUR, 5)})
    for number in range(5):
        shop.check(f"unknown{number}")
    assert Refusal.TENANT_RATE == exhausted(lambda: shop.check("unknown5"))[0]


def test_names_with_a_limit_of_their_own_have_that_one_and_others_the_default(server: Limited) -> None:
    free, other = server.caller(), server.caller()
    once, often = CallLimit(PER_HOUR, 1), CallLimit(PER_HOUR, 100)
    server.limits = CallLimits({free.name: often, "default": once}, {"globex": often, "default": often})
    free.check()
    free.check("globex")
    other.check()
    assert Refusal.CALLER_RATE == exhausted(other.check)[0]

    server.limits = CallLimits(tenants={"globex": often, "default": once})
    free.check("globex")
    # The first may be refused already: what tests before asked about such tenants counts.
    assert Refusal.TENANT_RATE == exhausted(lambda: [free.check("unknown") for _ in range(2)])[0]


def test_the_limit_of_the_caller_comes_before_the_tenant_s_grammar_and_right(server: Limited) -> None:
    shop = server.caller()
    server.limits = CallLimits({shop.name: CallLimit(PER_HOUR, 1)}, {"default": CallLimit(PER_HOUR, 1)})
    with pytest.raises(grpc.RpcError) as caught:
        shop.check("No Tenant")
    assert grpc.StatusCode.INVALID_ARGUMENT is caught.value.code()
    assert Refusal.CALLER_RATE == exhausted(lambda: shop.check("No Tenant"))[0]


def test_a_refusal_leaves_no_record(server: Limited) -> None:
    shop = server.caller()
    server.limit(shop, CallLimit(PER_HOUR, 1))
    shop.check()
    for _ in range(3):
        exhausted(shop.check)
    found = [each for each in server.node.store.decisions(limit=1_000) if each.caller == shop.name]
    assert 1 == len(found)


@pytest.fixture(params=CONNECTS)
def connect(request: pytest.FixtureRequest) -> Connect:
    return patiently(CONNECTS[request.param])


def test_status_says_whom_a_limit_refused_and_how_often(server: Limited) -> None:
    shop, other = server.caller(), server.caller()
    server.limit(shop, CallLimit(PER_HOUR, 1))
    shop.check()
    for _ in range(3):
        exhausted(shop.check)
    other.check()

    status = status_service_pb2_grpc.StatusServiceStub(other.channel)
    told = status.GetStatus(status_service_pb2.GetStatusRequest(), timeout=DEADLINE_S)
    assert [("calls", "caller rate", 3)] == [
        (each.calls, each.reason, each.refused) for each in told.limits_hit if each.caller == shop.name
    ]
    assert all(told.started_us < each.last_us <= time.time_ns() // 1_000 for each in told.limits_hit)
    assert other.name not in {each.caller for each in told.limits_hit}


def test_the_client_tries_again_when_it_is_told_to(server: Limited, connect: Connect) -> None:
    shop = server.caller()
    server.limit(shop, CallLimit(4, 1))
    began = time.monotonic()
    with connect(server.target, tls=shop.tls) as client:
        for _ in range(4):
            assert client.tenant("acme").check("user:bob", "VIEW", "FLOW", "acme.finance").allowed
    assert 0.75 <= time.monotonic() - began < DEADLINE_S


def test_the_client_does_not_wait_beyond_its_deadline(server: Limited, connect: Connect) -> None:
    shop = server.caller()
    server.limit(shop, CallLimit(PER_HOUR, 1))
    shop.check()
    began = time.monotonic()
    with connect(server.target, tls=shop.tls) as client, pytest.raises(DecisionUnavailable) as caught:
        client.tenant("acme").check("user:bob", "VIEW", "FLOW", "acme.finance")
    assert "RESOURCE_EXHAUSTED" == caught.value.code
    assert time.monotonic() - began < DEADLINE_S / 2
