"""`remit.client` fails closed: an answer, AccessDenied or DecisionUnavailable, and nothing else."""

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from inspect import getmembers, isfunction, signature
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.clients import CONNECTS, Connect, patiently
from support.locks import locked
from support.server import DEADLINE_S, Server, free_port

from remit.client import (
    AccessDenied,
    Asked,
    AskedReach,
    AsyncClient,
    AsyncTenantClient,
    Client,
    DecisionUnavailable,
    MalformedQuestion,
    RecordFilter,
    TenantClient,
)
from remit.core.decision import Reason

BOB_VIEWS = ("acme", "user:bob", "VIEW", "FLOW", "acme.finance")
SAM_VIEWS = ("acme", "user:sam", "VIEW", "FLOW", "acme.finance")


@pytest.fixture(params=CONNECTS)
def connect(request: pytest.FixtureRequest) -> Connect:
    return patiently(CONNECTS[request.param])


def test_both_clients_ask_the_same_questions() -> None:
    """By methods of the same names and parameters."""

    def methods(client: type) -> dict[str, str]:
        return {
            name: str(signature(method)).replace("AsyncIterator", "Iterator")
            for name, method in getmembers(client, isfunction)
            if name[0] != "_" and name != "tenant"
        }

    assert methods(Client) == methods(AsyncClient)


@pytest.mark.parametrize(("client", "scoped"), [(Client, TenantClient), (AsyncClient, AsyncTenantClient)])
def test_a_client_of_one_tenant_has_each_method_that_asks_about_a_tenant(client: type, scoped: type) -> None:
    def parameters(of: type) -> dict[str, list[tuple[str, Any]]]:
        return {
            name: [(each.name, each.default) for each in list(signature(method).parameters.values())[1:]]
            for name, method in getmembers(of, isfunction)
            if name[0] != "_" and name != "tenant"
        }

    asked = {name: each[1:] for name, each in parameters(client).items() if each and each[0][0] == "tenant"}
    assert asked == parameters(scoped)
    assert len(asked) > 15


def test_a_client_of_one_tenant_asks_about_that_tenant(server: Server) -> None:
    with Client(server.target, timeout_s=DEADLINE_S) as client:
        acme, nobody = client.tenant("acme"), client.tenant("initech")
        assert acme.guard(*BOB_VIEWS[1:]).allowed
        assert [True, False] == [
            bool(each) for each in acme.batch_check([Asked(*BOB_VIEWS[1:]), Asked(*SAM_VIEWS[1:])])
        ]
        assert "user:bob" in [each.principal for each in acme.list_principals("VIEW", "FLOW", "acme.finance")]
        assert ["acme"] == [each.tenant for each in acme.status().tenants]
        assert Reason.UNKNOWN_TENANT is nobody.check(*BOB_VIEWS[1:]).reason


def test_an_asyncio_client_of_one_tenant_asks_about_that_tenant(server: Server) -> None:
    async def ask() -> None:
        async with AsyncClient(server.target, timeout_s=DEADLINE_S) as client:
            acme = client.tenant("acme")
            assert (await acme.guard(*BOB_VIEWS[1:])).allowed
            assert "user:bob" in [each.principal async for each in acme.list_principals("VIEW", "FLOW", "acme.finance")]
            question = acme.check(*SAM_VIEWS[1:])
            with pytest.raises(TypeError, match="await it"):
                bool(question)
            assert not await question

    asyncio.run(ask())


def test_guard_returns_the_answer_for_an_allow(connect: Connect, server: Server) -> None:
    with connect(server.target) as client:
        answer = client.guard(*BOB_VIEWS)
    assert (True, Reason.ALLOWED_BY_RULE) == (answer.allowed, answer.reason)


def test_guard_raises_access_denied_with_the_answer_for_a_deny(connect: Connect, server: Server) -> None:
    with connect(server.target) as client, pytest.raises(AccessDenied, match="NO_BINDING") as caught:
        client.guard(*SAM_VIEWS)
    assert Reason.NO_BINDING is caught.value.answer.reason
    assert caught.value.answer.decision_id in str(caught.value)


def test_an_unknown_tenant_is_a_deny(connect: Connect, server: Server) -> None:
    with connect(server.target) as client, pytest.raises(AccessDenied, match="UNKNOWN_TENANT"):
        client.guard("initech", *BOB_VIEWS[1:])


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        (("acme", "bob", "VIEW", "FLOW", "acme.finance"), ["question.principal"]),
        (("acme", "user:bob", "", "FLOW", "acme.finance"), ["question.action"]),
        (("acme", "user:bob", "VIEW", "FLOW", ""), ["question.namespace"]),
        (("Acme", "user:bob", "VIEW", "FLOW", "acme.finance"), ["tenant"]),
        (("acme", None, "VIEW", None, "acme.finance"), ["question.principal", "question.kind"]),
        (("acme", 7, "VIEW", "FLOW", "acme.finance"), []),
        (("acme", "user:bob", ["VIEW"], "FLOW", "acme.finance"), []),
        (("acme", "user:\ud800", "VIEW", "FLOW", "acme.finance"), []),
        ((object(), "user:bob", "VIEW", "FLOW", "acme.finance"), []),
    ],
)
def test_a_malformed_question_is_unavailable_and_never_a_deny(
    connect: Connect, server: Server, arguments: tuple[Any, ...], fields: list[str]
) -> None:
    """Values of a wrong type too. Code that catches DecisionUnavailable catches it."""
    assert issubclass(MalformedQuestion, DecisionUnavailable)
    with connect(server.target) as client, pytest.raises(MalformedQuestion) as caught:
        client.guard(*arguments)
    assert "INVALID_ARGUMENT" == caught.value.code
    assert fields == [violation.field for violation in caught.value.violations]


@pytest.mark.parametrize("questions", [None, 7, ["user:bob"], [None], [Asked(1, 2, 3)]])  # type: ignore[arg-type]
def test_batch_with_an_item_that_is_no_question_is_unavailable(
    connect: Connect, server: Server, questions: Any
) -> None:
    with connect(server.target) as client, pytest.raises(MalformedQuestion, match="INVALID_ARGUMENT"):
        client.batch_check("acme", questions)


def test_batch_has_one_result_a_question_and_a_malformed_one_fails_no_other(connect: Connect, server: Server) -> None:
    questions = [Asked(*BOB_VIEWS[1:]), Asked("bob", "VIEW", "FLOW", "acme.finance"), Asked(*SAM_VIEWS[1:])]
    with connect(server.target) as client:
        first, second, third = client.batch_check("acme", questions)
        assert [first, third] == [each for each in (first, third) if not isinstance(each, DecisionUnavailable)]
        assert isinstance(second, MalformedQuestion)
        assert ["principal"] == [violation.field for violation in second.violations]
        assert client.batch_check("acme", iter(questions[:1]))  # type: ignore[arg-type]


def test_a_batch_longer_than_the_server_takes_has_one_result_a_question(
    connect: Connect, server: Server, serve: Callable[..., Server], untested: Path
) -> None:
    """For a server with its default limit, and for one that takes fewer."""
    questions = [Asked(*BOB_VIEWS[1:]), Asked(*SAM_VIEWS[1:]), Asked("bob", "VIEW", "FLOW", "acme.finance")] * 40
    reaches = [AskedReach("acme.finance", "acme.finance", "KV"), AskedReach("acme.data", "acme.legal", "KV")] * 60
    small = serve("--batch-limit", "7", policies=untested)
    for target in (server.target, small.target):
        with connect(target) as client:
            results = client.batch_check("acme", questions)
            assert [True, False, False] * 40 == [bool(each) for each in results]
            assert [False, False, True] * 40 == [isinstance(each, MalformedQuestion) for each in results]
            assert 1 == len({each.revision for each in results if not isinstance(each, DecisionUnavailable)})
            assert [True, False] * 60 == [bool(each) for each in client.batch_check_reach("acme", reaches)]
            with pytest.raises(MalformedQuestion):
                client.batch_check("acme", [])


def test_the_parts_of_a_batch_share_one_deadline(connect: Connect, server: Server) -> None:
    began = time.monotonic()
    with (
        locked(server.database),
        connect(server.target, timeout_s=0.3) as client,
        pytest.raises(DecisionUnavailable, match="DEADLINE_EXCEEDED"),
    ):
        client.batch_check("acme", [Asked(*BOB_VIEWS[1:])] * 1_000)
    assert time.monotonic() - began < DEADLINE_S / 2


def test_truth_of_an_answer_is_its_effect(connect: Connect, server: Server) -> None:
    """`if client.check(...)` means an allow, and so does `all(client.batch_check(...))`."""
    with connect(server.target) as client:
        asked = [Asked("user:bob", "VIEW", "FLOW", "acme.finance"), Asked("user:sam", "VIEW", "FLOW", "acme.finance")]
        allowed, denied = client.batch_check("acme", asked)
        (malformed,) = client.batch_check("acme", [Asked("bob", "VIEW", "FLOW", "acme.finance")])
        assert [True, False, False] == [bool(each) for each in (allowed, denied, malformed)]
        assert not client.check("acme", "user:sam", "VIEW", "FLOW", "acme.finance")


def test_a_closed_client_is_unavailable(connect: Connect, server: Server) -> None:
    with connect(server.target) as client:
        client.close()
        with pytest.raises(DecisionUnavailable, match="closed") as caught:
            client.guard(*BOB_VIEWS)
        assert ("CANCELLED", False) == (caught.value.code, isinstance(caught.value, MalformedQuestion))
        with pytest.raises(DecisionUnavailable, match="closed") as caught:
            next(iter(client.follow_records(RecordFilter())))
        assert ("CANCELLED", False) == (caught.value.code, isinstance(caught.value, MalformedQuestion))


def test_a_server_that_is_away_is_unavailable_once_the_deadline_has_passed(connect: Connect) -> None:
    began = time.monotonic()
    with connect(f"127.0.0.1:{free_port()}", timeout_s=0.5) as client, pytest.raises(DecisionUnavailable) as caught:
        client.guard(*BOB_VIEWS)
    assert not isinstance(caught.value, MalformedQuestion)
    assert caught.value.code in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
    assert time.monotonic() - began < DEADLINE_S / 2


def test_a_deadline_that_passes_is_unavailable(connect: Connect, server: Server) -> None:
    with (
        locked(server.database),
        connect(server.target, timeout_s=0.3) as client,
        pytest.raises(DecisionUnavailable, match="DEADLINE_EXCEEDED"),
    ):
        client.guard(*BOB_VIEWS)


def test_client_retries_unavailable_within_the_deadline(
    connect: Connect, serve: Callable[..., Server], untested: Path
) -> None:
    """A question asked before the server has started; and again over the same client after it has come back."""
    port = free_port()
    with connect(f"127.0.0.1:{port}", timeout_s=DEADLINE_S) as client, ThreadPoolExecutor(1) as pool:
        early = pool.submit(client.guard, *BOB_VIEWS)
        server = serve(listen=f"127.0.0.1:{port}", policies=untested)
        assert early.result(DEADLINE_S).allowed
        server.kill()
        early = pool.submit(client.guard, *BOB_VIEWS)
        server.start()
        assert early.result(DEADLINE_S).allowed


def test_question_of_a_client_that_closes_is_unavailable_and_its_task_continues(server: Server) -> None:
    async def ask() -> str:
        client = AsyncClient(server.target, timeout_s=DEADLINE_S)
        asked = asyncio.create_task(client.guard(*BOB_VIEWS))
        with locked(server.database):
            while not asked.done():
                await asyncio.sleep(0)
                await client.close()
            with pytest.raises(DecisionUnavailable) as caught:
                await asked
        return caught.value.code

    assert asyncio.run(ask()) == "CANCELLED"


def test_a_cancelled_question_is_cancelled(server: Server) -> None:
    """The cancellation of the task itself is no answer."""

    async def ask() -> bool:
        async with AsyncClient(server.target, timeout_s=DEADLINE_S) as client:
            with locked(server.database):
                asked = asyncio.create_task(client.guard(*BOB_VIEWS))
                await asyncio.sleep(0)
                asked.cancel()
                await asyncio.wait([asked])
        return asked.cancelled()

    assert asyncio.run(ask())


def test_a_denied_guard_that_nobody_awaits_is_logged(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """By asyncio, when its task is collected: with the decision's id, by which the record is found."""

    async def forgot() -> None:
        async with AsyncClient(server.target, timeout_s=DEADLINE_S) as client:
            await asyncio.wait([asyncio.create_task(client.guard(*SAM_VIEWS))])
        gc.collect()

    asyncio.run(forgot())
    (logged,) = caplog.records
    assert "Task exception was never retrieved" in logged.getMessage()
    assert logged.exc_info is not None
    assert isinstance(denied := logged.exc_info[1], AccessDenied)
    assert denied.answer.decision_id in caplog.text


@contextmanager
def impostor(connect: Connect, answer: Callable[[bytes, grpc.ServicerContext], bytes]) -> Iterator[Client]:
    """Something that answers gRPC calls and is not remit."""

    class Handler(grpc.GenericRpcHandler):
        def service(self, _: grpc.HandlerCallDetails) -> Any:
            return grpc.unary_unary_rpc_method_handler(answer)

    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, handlers=[Handler()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with connect(f"127.0.0.1:{port}", timeout_s=5) as client:
            yield client
        server.stop(None)


def garbled(_: bytes, context: grpc.ServicerContext) -> bytes:
    context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xff\xff"),))
    context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")
    raise AssertionError


def contradictory(_: bytes, context: grpc.ServicerContext) -> bytes:
    context.set_trailing_metadata((("grpc-status-details-bin", b"\x08\x05\x12\x02hm"),))
    context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")
    raise AssertionError


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (lambda *_: b"", "INTERNAL"),
        (lambda *_: b"\xff\xff", "INTERNAL"),
        (lambda *_: b"\x0a\x04\x08\x01\x10\x63", "INTERNAL"),
        (garbled, "PERMISSION_DENIED"),
        (contradictory, "PERMISSION_DENIED"),
    ],
    ids=["nothing", "no message", "an unknown reason", "garbled details", "contradictory details"],
)
def test_an_answer_that_is_not_remit_s_is_unavailable(
    connect: Connect, answer: Callable[..., bytes], code: str
) -> None:
    with impostor(connect, answer) as client, pytest.raises(DecisionUnavailable) as caught:
        client.guard(*BOB_VIEWS)
    assert code == caught.value.code


def test_clients_reach_a_server_on_loopback_past_a_dead_proxy(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)

    async def asked() -> bool:
        async with AsyncClient(server.target) as client:
            return (await client.check(*BOB_VIEWS)).decision_id != ""

    with Client(server.target) as client:
        assert client.check(*BOB_VIEWS).decision_id
    assert asyncio.run(asked())
