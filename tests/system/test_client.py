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

BOB_VIEWS = ("user:bob", "VIEW", "FLOW", "acme.finance")
SAM_VIEWS = ("user:sam", "VIEW", "FLOW", "acme.finance")


@pytest.fixture(params=CONNECTS)
def connect(request: pytest.FixtureRequest) -> Connect:
    return patiently(CONNECTS[request.param])


@pytest.mark.parametrize(("client", "of_asyncio"), [(Client, AsyncClient), (TenantClient, AsyncTenantClient)])
def test_both_clients_ask_the_same_questions(client: type, of_asyncio: type) -> None:
    """By methods of the same names and parameters, which help() and editors show."""

    def methods(of: type) -> dict[str, str]:
        return {
            name: str(signature(method)).replace("Async", "").replace("async_client", "sync_client")
            for name, method in getmembers(of, isfunction)
            if name[0] != "_"
        }

    assert methods(client) == methods(of_asyncio)
    assert len(methods(client)) > 8


@pytest.mark.parametrize("made", [Client, AsyncClient])
def test_earlier_spelling_is_told_the_present_one(made: type[Client | AsyncClient]) -> None:
    client: Any = made("127.0.0.1:1")
    with pytest.raises(AttributeError, match=r"is now `client\.tenant\(TENANT\)\.check\(\.\.\.\)`"):
        client.check(*BOB_VIEWS)
    with pytest.raises(AttributeError, match=r"call it on the client, `client\.status\(\.\.\.\)`"):
        client.tenant("acme").status()
    for asked in (client, client.tenant("acme")):
        with pytest.raises(AttributeError, match="object has no attribute 'chek'"):
            asked.chek("acme")
        assert not hasattr(asked, "_forgotten")


def test_a_client_of_one_tenant_asks_about_that_tenant(server: Server) -> None:
    with Client(server.target, timeout_s=DEADLINE_S) as client:
        acme, nobody = client.tenant("acme"), client.tenant("initech")
        assert acme.guard(*BOB_VIEWS).allowed
        assert [True, False] == [bool(each) for each in acme.batch_check([Asked(*BOB_VIEWS), Asked(*SAM_VIEWS)])]
        assert "user:bob" in [each.principal for each in acme.list_principals("VIEW", "FLOW", "acme.finance")]
        assert ["acme"] == [each.tenant for each in client.status("acme").tenants]
        assert Reason.UNKNOWN_TENANT is nobody.check(*BOB_VIEWS).reason


def test_an_asyncio_client_of_one_tenant_asks_about_that_tenant(server: Server) -> None:
    async def ask() -> None:
        async with AsyncClient(server.target, timeout_s=DEADLINE_S) as client:
            acme = client.tenant("acme")
            assert (await acme.guard(*BOB_VIEWS)).allowed
            assert "user:bob" in [each.principal async for each in acme.list_principals("VIEW", "FLOW", "acme.finance")]
            question = acme.check(*SAM_VIEWS)
            with pytest.raises(TypeError, match="await it"):
                bool(question)
            assert not await question

    asyncio.run(ask())


def test_guard_returns_the_answer_for_an_allow(connect: Connect, server: Server) -> None:
    with connect(server.target) as client:
        answer = client.tenant("acme").guard(*BOB_VIEWS)
    assert (True, Reason.ALLOWED_BY_RULE) == (answer.allowed, answer.reason)


def test_guard_raises_access_denied_with_the_answer_for_a_deny(connect: Connect, server: Server) -> None:
    with connect(server.target) as client, pytest.raises(AccessDenied, match="NO_BINDING") as caught:
        client.tenant("acme").guard(*SAM_VIEWS)
    assert Reason.NO_BINDING is caught.value.answer.reason
    assert caught.value.answer.decision_id in str(caught.value)


def test_an_unknown_tenant_is_a_deny(connect: Connect, server: Server) -> None:
    with connect(server.target) as client, pytest.raises(AccessDenied, match="UNKNOWN_TENANT"):
        client.tenant("initech").guard(*BOB_VIEWS)


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
        client.tenant(arguments[0]).guard(*arguments[1:])
    assert "INVALID_ARGUMENT" == caught.value.code
    assert fields == [violation.field for violation in caught.value.violations]


@pytest.mark.parametrize("questions", [None, 7, ["user:bob"], [None], [Asked(1, 2, 3)]])  # type: ignore[arg-type]
def test_batch_with_an_item_that_is_no_question_is_unavailable(
    connect: Connect, server: Server, questions: Any
) -> None:
    with connect(server.target) as client, pytest.raises(MalformedQuestion, match="INVALID_ARGUMENT"):
        client.tenant("acme").batch_check(questions)


def test_batch_has_one_result_a_question_and_a_malformed_one_fails_no_other(connect: Connect, server: Server) -> None:
    questions = [Asked(*BOB_VIEWS), Asked("bob", "VIEW", "FLOW", "acme.finance"), Asked(*SAM_VIEWS)]
    with connect(server.target) as client:
        first, second, third = client.tenant("acme").batch_check(questions)
        assert [first, third] == [each for each in (first, third) if not isinstance(each, DecisionUnavailable)]
        assert isinstance(second, MalformedQuestion)
        assert ["principal"] == [violation.field for violation in second.violations]
        assert client.tenant("acme").batch_check(iter(questions[:1]))  # type: ignore[arg-type]


def test_a_batch_longer_than_the_server_takes_has_one_result_a_question(
    connect: Connect, server: Server, serve: Callable[..., Server], untested: Path
) -> None:
    """For a server with its default limit, and for one that takes fewer."""
    questions = [Asked(*BOB_VIEWS), Asked(*SAM_VIEWS), Asked("bob", "VIEW", "FLOW", "acme.finance")] * 40
    reaches = [AskedReach("acme.finance", "acme.finance", "KV"), AskedReach("acme.data", "acme.legal", "KV")] * 60
    small = serve("--batch-limit", "7", policies=untested)
    for target in (server.target, small.target):
        with connect(target) as client:
            results = client.tenant("acme").batch_check(questions)
            assert [True, False, False] * 40 == [bool(each) for each in results]
            assert [False, False, True] * 40 == [isinstance(each, MalformedQuestion) for each in results]
            assert 1 == len({each.revision for each in results if not isinstance(each, DecisionUnavailable)})
            assert [True, False] * 60 == [bool(each) for each in client.tenant("acme").batch_check_reach(reaches)]
            with pytest.raises(MalformedQuestion):
                client.tenant("acme").batch_check([])


def test_the_parts_of_a_batch_share_one_deadline(connect: Connect, server: Server) -> None:
    began = time.monotonic()
    with (
        locked(server.database),
        connect(server.target, timeout_s=0.3) as client,
        pytest.raises(DecisionUnavailable, match="DEADLINE_EXCEEDED"),
    ):
        client.tenant("acme").batch_check([Asked(*BOB_VIEWS)] * 1_000)
    assert time.monotonic() - began < DEADLINE_S / 2


def test_truth_of_an_answer_is_its_effect(connect: Connect, server: Server) -> None:
    """`if client.check(...)` means an allow, and so does `all(client.batch_check(...))`."""
    with connect(server.target) as client:
        asked = [Asked("user:bob", "VIEW", "FLOW", "acme.finance"), Asked("user:sam", "VIEW", "FLOW", "acme.finance")]
        allowed, denied = client.tenant("acme").batch_check(asked)
        (malformed,) = client.tenant("acme").batch_check([Asked("bob", "VIEW", "FLOW", "acme.finance")])
        assert [True, False, False] == [bool(each) for each in (allowed, denied, malformed)]
        assert not client.tenant("acme").check("user:sam", "VIEW", "FLOW", "acme.finance")


def test_a_closed_client_is_unavailable(connect: Connect, server: Server) -> None:
    with connect(server.target) as client:
        client.close()
        with pytest.raises(DecisionUnavailable, match="closed") as caught:
            client.tenant("acme").guard(*BOB_VIEWS)
        assert ("CANCELLED", False) == (caught.value.code, isinstance(caught.value, MalformedQuestion))
        with pytest.raises(DecisionUnavailable, match="closed") as caught:
            next(iter(client.follow_records(RecordFilter())))
        assert ("CANCELLED", False) == (caught.value.code, isinstance(caught.value, MalformedQuestion))


def test_a_server_that_is_away_is_unavailable_once_the_deadline_has_passed(connect: Connect) -> None:
    began = time.monotonic()
    with connect(f"127.0.0.1:{free_port()}", timeout_s=0.5) as client, pytest.raises(DecisionUnavailable) as caught:
        client.tenant("acme").guard(*BOB_VIEWS)
    assert not isinstance(caught.value, MalformedQuestion)
    assert caught.value.code in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
    assert time.monotonic() - began < DEADLINE_S / 2


def test_a_deadline_that_passes_is_unavailable(connect: Connect, server: Server) -> None:
    with (
        locked(server.database),
        connect(server.target, timeout_s=0.3) as client,
        pytest.raises(DecisionUnavailable, match="DEADLINE_EXCEEDED"),
    ):
        client.tenant("acme").guard(*BOB_VIEWS)


def test_client_retries_unavailable_within_the_deadline(
    connect: Connect, serve: Callable[..., Server], untested: Path
) -> None:
    """A question asked before the server has started; and again over the same client after it has come back."""
    port = free_port()
    with connect(f"127.0.0.1:{port}", timeout_s=DEADLINE_S) as client, ThreadPoolExecutor(1) as pool:
        early = pool.submit(client.tenant("acme").guard, *BOB_VIEWS)
        server = serve(listen=f"127.0.0.1:{port}", policies=untested)
        assert early.result(DEADLINE_S).allowed
        server.kill()
        early = pool.submit(client.tenant("acme").guard, *BOB_VIEWS)
        server.start()
        assert early.result(DEADLINE_S).allowed


def test_question_of_a_client_that_closes_is_unavailable_and_its_task_continues(server: Server) -> None:
    async def ask() -> str:
        client = AsyncClient(server.target, timeout_s=DEADLINE_S)
        asked = asyncio.create_task(client.tenant("acme").guard(*BOB_VIEWS))
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
                asked = asyncio.create_task(client.tenant("acme").guard(*BOB_VIEWS))
                await asyncio.sleep(0)
                asked.cancel()
                await asyncio.wait([asked])
        return asked.cancelled()

    assert asyncio.run(ask())


def test_a_denied_guard_that_nobody_awaits_is_logged(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """By asyncio, when its task is collected: with the decision's id, by which the record is found."""

    async def forgot() -> None:
        async with AsyncClient(server.target, timeout_s=DEADLINE_S) as client:
            await asyncio.wait([asyncio.create_task(client.tenant("acme").guard(*SAM_VIEWS))])
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
        client.tenant("acme").guard(*BOB_VIEWS)
    assert code == caught.value.code


def test_clients_reach_a_server_on_loopback_past_a_dead_proxy(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)

    async def asked() -> bool:
        async with AsyncClient(server.target) as client:
            return (await client.tenant("acme").check(*BOB_VIEWS)).decision_id != ""

    with Client(server.target) as client:
        assert client.tenant("acme").check(*BOB_VIEWS).decision_id
    assert asyncio.run(asked())
