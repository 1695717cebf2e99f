"""The client over HTTP: the tests of the client over gRPC hold, and it connects as HTTP needs it."""

import asyncio
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.certificates import Authority
from support.clients import CONNECTS, Connect, patiently
from support.editing import DENIED, GRANT, QUICK, append
from support.locks import locked
from support.server import DEADLINE_S, Server, environment, free_port, remit, until
from test_cached_answers import (  # noqa: F401 (they run here with the fixtures of this module)
    serves,
    test_answers_that_are_no_single_decision_are_not_cached,
    test_cache_asks_a_question_with_any_other_field,
    test_cache_is_off_by_default,
    test_the_cache_is_no_larger_than_asked,
    test_the_same_question_is_answered_once_and_leaves_one_record,
)
from test_client import (  # noqa: F401
    test_a_closed_client_is_unavailable,
    test_a_deadline_that_passes_is_unavailable,
    test_a_malformed_question_is_unavailable_and_never_a_deny,
    test_a_server_that_is_away_is_unavailable_once_the_deadline_has_passed,
    test_an_unknown_tenant_is_a_deny,
    test_batch_has_one_result_a_question_and_a_malformed_one_fails_no_other,
    test_batch_with_an_item_that_is_no_question_is_unavailable,
    test_guard_raises_access_denied_with_the_answer_for_a_deny,
    test_guard_returns_the_answer_for_an_allow,
    test_the_parts_of_a_batch_share_one_deadline,
    test_truth_of_an_answer_is_its_effect,
)
from test_client_questions import (  # noqa: F401
    test_a_batch_about_reach_has_one_result_a_question,
    test_a_filter_is_a_set_of_namespaces,
    test_all_owners_must_agree,
    test_an_unknown_operation_is_unavailable,
    test_check_reach_answers_either_way,
    test_explanation_and_status_are_messages_of_the_api,
    test_operation_is_allowed_if_every_part_is,
    test_principals_are_listed_over_all_pages,
    test_served_is_answered_in_tenant_and_instance,
)

from remit.audit.ids import parse_id
from remit.client import AsyncClient, Client, DecisionUnavailable, MutualTls, RecordFilter

ANYWHERE = "127.0.0.1:0"
BOB_VIEWS = ("user:bob", "VIEW", "FLOW", "acme.finance")
ALLOWED = "ALLOWED_BY_RULE"
FIRST = "00000000-0000-7000-8000-000000000000"
FORKING = Path(__file__).parents[1] / "support" / "forking.py"


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("http"), http=ANYWHERE) as started:
        yield started


@pytest.fixture(scope="module")
def server(untouched: Server) -> Server:
    return untouched


@pytest.fixture(params=CONNECTS)
def connect(request: pytest.FixtureRequest, untouched: Server) -> Connect:
    """Clients over HTTP, for tests that name the address of gRPC."""
    made = patiently(CONNECTS[request.param])
    return lambda target, **options: made(
        url(untouched) if target == untouched.target else f"http://{target}", **options
    )


@pytest.fixture
def client(connect: Connect, server: Server) -> Iterator[Client]:
    with connect(server.target) as opened:
        yield opened


def url(server: Server, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{server.http_port}"


def test_client_asks_over_http_and_nothing_else(connect: Connect, serve: Callable[..., Server], untested: Path) -> None:
    """The decision is on record, and a server without HTTP is away."""
    server = serve(policies=untested, http=ANYWHERE)
    with connect(f"127.0.0.1:{server.http_port}") as client, server.store() as store:
        assert store.decision(parse_id(client.tenant("acme").check(*BOB_VIEWS).decision_id)) is not None
    with connect(server.target, timeout_s=0.3) as client, pytest.raises(DecisionUnavailable, match="UNAVAILABLE"):
        client.tenant("acme").check(*BOB_VIEWS)


def test_client_retries_and_follows_across_a_restart(
    connect: Connect, serve: Callable[..., Server], untested: Path
) -> None:
    """Over the same client and the same walk: nothing twice, and nothing lost."""
    address = f"127.0.0.1:{free_port()}"
    with connect(address) as client, connect(address) as other, ThreadPoolExecutor(1) as pool:
        early = pool.submit(client.tenant("acme").check, *BOB_VIEWS)
        server = serve(policies=untested, http=address)
        told = [early.result(DEADLINE_S).decision_id]
        walk = other.follow_records(RecordFilter(tenant="acme"), after=FIRST)
        found = [next(walk).id]
        server.kill()
        server.start()
        told += [client.tenant("acme").check(*BOB_VIEWS).decision_id for _ in range(2)]
        found += [each.id for each in islice(walk, 2)]
    assert told == found


def test_edit_drops_cached_answers(
    connect: Connect, serve: Callable[..., Server], untested: Path, tmp_path: Path
) -> None:
    policies = Path(shutil.copytree(untested, tmp_path / "edited"))
    server = serve(*QUICK, policies=policies, http=ANYWHERE)
    with connect(f"127.0.0.1:{server.http_port}", cache=100) as client:
        until(lambda: serves(client), "an answer from the cache")
        append(policies / "acme" / "bindings.csv", GRANT)
        until(lambda: client.tenant("acme").check(*DENIED).allowed, "the new policy's answer")


def test_cache_serves_nothing_without_a_server(connect: Connect, serve: Callable[..., Server], untested: Path) -> None:
    server = serve(policies=untested, http=ANYWHERE)

    def is_away() -> bool:
        try:
            client.tenant("acme").check(*DENIED)
        except DecisionUnavailable:
            return True
        return False

    with connect(f"127.0.0.1:{server.http_port}", cache=100, timeout_s=0.5) as client:
        until(lambda: not is_away() and serves(client), "an answer from the cache")
        server.kill()
        until(is_away, "no answer")
        assert is_away()


def test_call_that_could_not_be_recorded_is_tried_again(connect: Connect, serve: Callable[..., Server]) -> None:
    server = serve("--audit-timeout-s", "0.2", http=ANYWHERE)
    with connect(f"127.0.0.1:{server.http_port}") as client, ThreadPoolExecutor(1) as pool:
        with locked(server.database):
            asked = pool.submit(client.tenant("acme").check, *BOB_VIEWS)
            until(lambda: server.metric("remit_call_seconds_count", code="UNAVAILABLE") > 0, "a call without an answer")
        assert asked.result(DEADLINE_S).allowed


def test_closing_ends_a_stream_of_another_thread(server: Server) -> None:
    """A thread that waits for the next record ends, and does not wait for ever."""
    client = Client(url(server), timeout_s=DEADLINE_S)
    begun, raised = threading.Event(), []

    def follow() -> None:
        try:
            for _ in client.follow_records(after=FIRST):
                begun.set()
        except DecisionUnavailable as unavailable:
            raised.append(unavailable.code)

    client.tenant("acme").check(*BOB_VIEWS)
    thread = threading.Thread(target=follow)
    thread.start()
    assert begun.wait(DEADLINE_S)
    client.close()
    thread.join(DEADLINE_S)
    assert ["CANCELLED"] == raised


def test_closing_ends_a_stream_of_another_task(server: Server) -> None:
    async def ask() -> str:
        client = AsyncClient(url(server), timeout_s=DEADLINE_S)
        await client.tenant("acme").check(*BOB_VIEWS)
        begun = asyncio.Event()

        async def follow() -> None:
            async for _ in client.follow_records(after=FIRST):
                begun.set()

        task = asyncio.create_task(follow())
        await begun.wait()
        await client.close()
        with pytest.raises(DecisionUnavailable) as caught:
            await task
        return caught.value.code

    assert "CANCELLED" == asyncio.run(asyncio.wait_for(ask(), DEADLINE_S))


def test_cancelled_task_is_cancelled(server: Server) -> None:
    async def ask() -> bool:
        async with AsyncClient(url(server), timeout_s=DEADLINE_S) as client:
            await client.tenant("acme").check(*BOB_VIEWS)
            with locked(server.database):
                asked = asyncio.create_task(client.tenant("acme").guard(*BOB_VIEWS))
                await asyncio.sleep(0.05)
                asked.cancel()
                await asyncio.wait([asked])
            assert await client.tenant("acme").check(*BOB_VIEWS)
        return asked.cancelled()

    assert asyncio.run(ask())


@pytest.mark.parametrize(
    "kind",
    [
        *("unused", "used", "new in the child", "other threads ask", "a thread follows", "cached", "multiprocessing"),
        *("asyncio, unused", "asyncio, closed", "asyncio, open"),
    ],
)
def test_client_works_on_both_sides_of_a_fork(kind: str, server: Server) -> None:
    """Also while an AsyncClient is open, which gRPC cannot do."""
    done = subprocess.run(
        [sys.executable, str(FORKING), kind, url(server)],
        env=environment({}),
        capture_output=True,
        text=True,
        check=False,
        timeout=4 * DEADLINE_S,
    )

    assert not done.returncode, done.stderr
    assert {"children": [ALLOWED] * 12, "parent": ALLOWED} == json.loads(done.stdout)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    folder = tmp_path / "authority"
    folder.mkdir()
    return Authority(folder, trustme.CA())


@pytest.fixture
def secure(serve: Callable[..., Server], authority: Authority, untested: Path) -> Server:
    flags = authority.server_flags(*authority.signed("server", "127.0.0.1"))
    return serve(*flags, policies=untested, http=ANYWHERE)


@pytest.mark.parametrize("made", CONNECTS.values(), ids=CONNECTS)
def test_certificate_names_the_caller_also_after_it_was_replaced(
    made: Connect, secure: Server, authority: Authority
) -> None:
    cert, key = authority.signed("shop", "shop.example")
    tls = MutualTls(authority.certificate, cert, key)
    with patiently(made)(url(secure, "https"), tls=tls) as client, secure.store() as store:

        def caller() -> str:
            record = store.decision(parse_id(client.tenant("acme").check(*BOB_VIEWS).decision_id))
            assert record is not None
            return record.caller

        assert "service:dns/shop.example" == caller()
        for old, new in zip((cert, key), authority.signed("desk", "desk.example"), strict=True):
            new.replace(old)
        until(lambda: caller() == "service:dns/desk.example", "the new certificate")


@pytest.mark.parametrize("made", CONNECTS.values(), ids=CONNECTS)
def test_caller_without_a_certificate_or_with_a_refused_token_has_no_answer(
    made: Connect, secure: Server, authority: Authority
) -> None:
    asking = patiently(made)
    for token in (None, "nonsense"):
        with (
            asking(url(secure, "https"), server_ca=authority.certificate, token=token) as client,
            pytest.raises(DecisionUnavailable) as caught,
        ):
            client.tenant("acme").check(*BOB_VIEWS)
        assert "UNAUTHENTICATED" == caught.value.code


@pytest.mark.parametrize("made", CONNECTS.values(), ids=CONNECTS)
def test_server_of_another_authority_or_name_has_no_answer(
    made: Connect, secure: Server, authority: Authority, tmp_path: Path
) -> None:
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(stranger)
    for target, ca in (
        (url(secure, "https"), stranger),
        (f"https://localhost:{secure.http_port}", authority.certificate),
    ):
        with made(target, timeout_s=2.0, server_ca=ca) as client, pytest.raises(DecisionUnavailable) as caught:
            client.tenant("acme").check(*BOB_VIEWS)
        assert "UNAVAILABLE" == caught.value.code
        assert "CERTIFICATE_VERIFY_FAILED" in caught.value.message


class ProxyServer(ThreadingHTTPServer):
    """Answers each request by a page of its own, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ProxyHandler)
        self.asked: list[str] = []


class ProxyHandler(BaseHTTPRequestHandler):
    server: ProxyServer

    def do_POST(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_CONNECT = do_POST  # noqa: N815 (a name of the base class)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProxyServer]:
    for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with ProxyServer() as started:
        thread = threading.Thread(target=started.serve_forever)
        thread.start()
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{started.server_port}")
        yield started
        started.shutdown()
        thread.join()


def test_loopback_goes_through_no_proxy(connect: Connect, server: Server, proxy: ProxyServer) -> None:
    with connect(server.target) as client:
        assert client.tenant("acme").check(*BOB_VIEWS).allowed
    assert [] == proxy.asked


@pytest.mark.parametrize("made", CONNECTS.values(), ids=CONNECTS)
def test_other_addresses_go_through_the_proxy_of_the_environment(
    made: Connect, proxy: ProxyServer, authority: Authority
) -> None:
    """Whose page is no answer."""
    for target, tls in (
        ("http://remit.example:9080", {}),
        ("https://remit.example:9080", {"server_ca": authority.certificate}),
    ):
        with made(target, timeout_s=0.5, **tls) as client, pytest.raises(DecisionUnavailable):
            client.tenant("acme").check(*BOB_VIEWS)
    assert {
        "POST http://remit.example:9080/remit.v1.AccessService/Check",
        "CONNECT remit.example:9080",
    } == set(proxy.asked)


def test_command_line_asks_over_http(server: Server) -> None:
    asked = remit("check", "acme", *BOB_VIEWS, "--target", url(server))
    assert (0, f"allow {ALLOWED}\n") == (asked.returncode, asked.stdout)
    refused = remit("check", "acme", *BOB_VIEWS, "--target", "http://127.0.0.1/")
    assert (2, "") == (refused.returncode, refused.stdout)
    assert "expected http://HOST:PORT" in refused.stderr
