"""The decision cache: off unless asked for, and never older than the watch that vouches for it."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.clients import CONNECTS, Connect, patiently
from support.editing import DENIED, GRANT, QUICK, append, until_status
from support.server import Server, until

from remit.client import Client, DecisionUnavailable, revision_watch
from remit.v1 import access_service_pb2

REACH = ("acme.data", "acme.finance", "SUBFLOW")


@pytest.fixture(params=CONNECTS)
def connect(request: pytest.FixtureRequest) -> Connect:
    return patiently(CONNECTS[request.param])


@pytest.fixture
def edited(untested: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(untested, tmp_path / "policies"))


@pytest.fixture
def server(edited: Path, tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "audit", *QUICK, policies=edited) as started:
        yield started


def serves(client: Client) -> bool:
    """Whether the same question has the same record twice."""
    return client.tenant("acme").check(*DENIED).decision_id == client.tenant("acme").check(*DENIED).decision_id


def is_unavailable(client: Client) -> bool:
    try:
        client.tenant("acme").check(*DENIED)
    except DecisionUnavailable:
        return True
    return False


def test_cache_is_off_by_default(connect: Connect, untouched: Server) -> None:
    with connect(untouched.target) as client:
        assert 20 == len({client.tenant("acme").check(*DENIED).decision_id for _ in range(20)})


def test_the_same_question_is_answered_once_and_leaves_one_record(connect: Connect, untouched: Server) -> None:
    with connect(untouched.target, cache=100) as client:
        until(lambda: serves(client), "an answer from the cache")
        first = client.tenant("acme").check(*DENIED)
        assert [first] * 10 == [client.tenant("acme").check(*DENIED) for _ in range(10)]
        until(
            lambda: client.tenant("acme").check_reach(*REACH) == client.tenant("acme").check_reach(*REACH),
            "an answer about reach from the cache",
        )


def test_cache_asks_a_question_with_any_other_field(connect: Connect, untouched: Server) -> None:
    """Each field makes it another, those too that are only recorded."""
    with connect(untouched.target, cache=100) as client:
        until(lambda: serves(client), "an answer from the cache")
        others = [
            client.tenant("acme").check(*DENIED, resource_id="other"),
            client.tenant("acme", trace_id="other").check(*DENIED),
            client.tenant("acme", on_behalf_of="user:alice").check(*DENIED),
            client.tenant("globex").check(*DENIED),
            client.tenant("acme").check(*DENIED[:-1], "acme.data"),
            client.tenant("acme").check(*DENIED),
        ]
        assert 6 == len({each.decision_id for each in others})


def test_answers_that_are_no_single_decision_are_not_cached(connect: Connect, untouched: Server) -> None:
    principal, action, kind, namespace = DENIED
    question = access_service_pb2.Question(principal=principal, action=action, kind=kind, namespace=namespace)
    request = access_service_pb2.CheckRequest(tenant="acme", question=question)
    with connect(untouched.target, cache=100) as client:
        until(lambda: serves(client), "an answer from the cache")
        plans = {client.tenant("acme").plan_filter(principal, action, kind).decision_id for _ in range(2)}
        explained = {client.tenant("acme").explain(*DENIED).decision.decision_id for _ in range(2)}
        asked = {client.ask(request).decision.decision_id for _ in range(2)}
    assert [2, 2, 2] == [len(plans), len(explained), len(asked)]


def test_edit_drops_cached_answers(connect: Connect, server: Server, edited: Path) -> None:
    with connect(server.target, cache=100) as client:
        until(lambda: serves(client), "an answer from the cache")
        before = client.tenant("acme").check(*DENIED)
        append(edited / "acme" / "bindings.csv", GRANT)
        until(lambda: client.tenant("acme").check(*DENIED).allowed, "the new policy's answer")
        until(lambda: serves(client), "an answer from the cache")
        assert before.revision != client.tenant("acme").check(*DENIED).revision


def test_no_older_answer_follows_a_newer_one(connect: Connect, server: Server, edited: Path) -> None:
    """Who has seen the new revision in one answer sees it in all, however late the watch is."""
    with connect(server.target, cache=100) as client:
        until(lambda: serves(client), "an answer from the cache")
        before = client.tenant("acme").check(*DENIED).revision
        append(edited / "acme" / "bindings.csv", GRANT)
        after = until_status(server, lambda acme: acme.revision != before).revision
        assert client.tenant("acme", revision=after).check(*DENIED).allowed
        assert client.tenant("acme").check(*DENIED).allowed


def test_cache_serves_nothing_without_a_server(connect: Connect, server: Server) -> None:
    with connect(server.target, cache=100, timeout_s=0.2) as client:
        until(lambda: not is_unavailable(client) and serves(client), "an answer from the cache")
        server.kill()
        until(lambda: is_unavailable(client), "no answer")
        assert is_unavailable(client)


def test_cache_trusts_a_silent_server_for_a_bounded_time(
    connect: Connect, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection is open and silent: no watch ends, and no change arrives."""
    monkeypatch.setattr(revision_watch, "WATCH_S", 1.0)
    with connect(server.target, cache=100, timeout_s=0.2) as client:
        until(lambda: not is_unavailable(client) and serves(client), "an answer from the cache")
        server.signal(signal.SIGSTOP)
        until(lambda: is_unavailable(client), "no answer")
        server.signal(signal.SIGCONT)


def test_the_cache_is_no_larger_than_asked(connect: Connect, untouched: Server) -> None:
    with connect(untouched.target, cache=1) as client:
        until(lambda: serves(client), "an answer from the cache")
        first = client.tenant("acme").check(*DENIED)
        client.tenant("acme").check(*DENIED, resource_id="other")
        assert first.decision_id != client.tenant("acme").check(*DENIED).decision_id
