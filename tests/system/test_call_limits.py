import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from support.locks import locked
from support.questions import ALLOWED, check
from support.server import DEADLINE_S, SERVING, Health, Server, access_of, until
from support.violations import violations

from remit.v1 import access_service_pb2 as messages
from remit.v1 import decision_pb2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, untested: Path) -> Iterator[Server]:
    flags = ("--max-calls", "4", "--max-message-bytes", "8192", "--batch-limit", "5")
    with Server(tmp_path_factory.mktemp("limits"), *flags, policies=untested) as started:
        yield started


def code_of(call: Callable[[], object]) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code()


def test_a_call_beyond_max_calls_is_refused_at_once(server: Server) -> None:
    """While four wait for the store; those four are answered in the end."""
    with server.channel() as channel:
        access = access_of(channel)
        with locked(server.database):
            waiting = [access.Check.future(check()) for _ in range(4)]
            until(lambda: server.metric("remit_audit_queue") == 4, "four calls in flight")
            began = time.monotonic()
            assert grpc.StatusCode.RESOURCE_EXHAUSTED is code_of(lambda: access.Check(check(), timeout=DEADLINE_S))
            assert time.monotonic() - began < 2
            assert not any(each.done() for each in waiting)
        assert 4 == len({each.result().decision.decision_id for each in waiting})
        assert access.Check(check(), timeout=DEADLINE_S).decision.decision_id


def test_an_oversized_message_is_refused(server: Server) -> None:
    with server.channel() as channel:
        fat = check(messages.Question(principal="user:bob", resource_id="x" * 9_000))
        assert grpc.StatusCode.RESOURCE_EXHAUSTED is code_of(lambda: access_of(channel).Check(fat, timeout=DEADLINE_S))


@pytest.mark.parametrize(("count", "told"), [(6, "holds 6 questions"), (0, "holds 0 questions")])
def test_a_batch_outside_its_limits_is_a_violation_of_its_field(server: Server, count: int, told: str) -> None:
    request = messages.BatchCheckRequest(tenant="acme", questions=[ALLOWED] * count)
    with server.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        access_of(channel).BatchCheck(request, timeout=DEADLINE_S)
    assert grpc.StatusCode.INVALID_ARGUMENT is caught.value.code()
    assert [("questions", f"{told}: expected 1 to 5")] == violations(caught.value)


def test_one_malformed_item_does_not_fail_the_others(server: Server) -> None:
    """It has its violations in its place; a namespace that its kind does not take is one too."""
    items = [
        ALLOWED,
        messages.Question(principal="bob", action="VIEW", kind="FLOW", namespace="acme..finance"),
        messages.Question(principal="user:sam", action="VIEW", kind="FLOW", namespace="acme.finance"),
        messages.Question(principal="user:bob", action="VIEW", kind="DASHBOARD", namespace="acme.finance"),
        messages.Question(principal="user:bob", action="VIEW", kind="FLOW"),
    ]
    request = messages.BatchCheckRequest(tenant="acme", questions=items)
    with server.channel() as channel:
        results = access_of(channel).BatchCheck(request, timeout=DEADLINE_S).results
    assert ["decision", "error", "decision", "error", "error"] == [each.WhichOneof("result") for each in results]
    named = [[violation.field for violation in each.error.field_violations] for each in results]
    assert [[], ["principal", "namespace"], [], ["namespace"], ["namespace"]] == named


def test_a_malformed_question_names_each_of_its_fields(server: Server) -> None:
    with server.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        access_of(channel).Check(check(messages.Question(principal="bob", action="view it")), timeout=DEADLINE_S)
    assert grpc.StatusCode.INVALID_ARGUMENT is caught.value.code()
    assert ["question.principal", "question.action", "question.kind"] == [
        field for field, _ in violations(caught.value)
    ]


@pytest.mark.parametrize(
    ("field", "request_"),
    [
        ("tenant", check(tenant="Acme")),
        ("tenant", check(tenant="")),
        ("origin.on_behalf_of", check(origin=decision_pb2.Origin(on_behalf_of="root"))),
        ("origin.trace_id", check(origin=decision_pb2.Origin(trace_id="a b"))),
        (
            "question.resource_id",
            check(messages.Question(principal="user:bob", action="VIEW", kind="FLOW", resource_id="a\n")),
        ),
    ],
)
def test_every_other_field_is_checked_against_its_grammar(
    server: Server, field: str, request_: messages.CheckRequest
) -> None:
    with server.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        access_of(channel).Check(request_, timeout=DEADLINE_S)
    assert grpc.StatusCode.INVALID_ARGUMENT is caught.value.code()
    assert [field] == [named for named, _ in violations(caught.value)]


def test_deadline_shorter_than_the_commit_fails_only_its_caller(server: Server) -> None:
    """DEADLINE_EXCEEDED; the server stays healthy and answers the next."""
    with server.channel() as channel:
        access = access_of(channel)
        with locked(server.database):
            assert grpc.StatusCode.DEADLINE_EXCEEDED is code_of(lambda: access.Check(check(), timeout=0.3))
        assert SERVING == Health(channel).of()
        assert access.Check(check(), timeout=DEADLINE_S).decision.decision_id
        until(lambda: server.metric("remit_audit_queue") == 0, "the record of the call given up is written too")
