"""The metrics are scraped whatever else connects to their port."""

import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme
from support.certificates import Authority
from support.server import DEADLINE_S, Server, until

MORE_THAN_THERE_IS_ROOM_FOR = 200


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), trustme.CA())


@pytest.fixture(scope="module", params=["plain", "tls"])
def endpoint(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, untested: Path, authority: Authority
) -> Iterator[tuple[Server, Callable[[str], str]]]:
    """A server, and what fetches a path of its metrics' port as somebody who may."""
    flags: tuple[str, ...] = ()
    scheme, context = "http", None
    if request.param == "tls":
        cert, key = authority.signed("server", "127.0.0.1")
        flags = authority.server_flags(cert, key)
        context = ssl.create_default_context(cafile=authority.certificate)
        context.load_cert_chain(*authority.signed("prometheus", "prometheus.acme.example"))
        scheme = "https"
    with Server(tmp_path_factory.mktemp(request.param), *flags, policies=untested) as server:

        def fetch(path: str) -> str:
            url = f"{scheme}://127.0.0.1:{server.metrics_port}{path}"
            with urllib.request.urlopen(url, timeout=DEADLINE_S, context=context) as answer:
                return str(answer.read().decode())

        yield server, fetch


def threads(server: Server) -> int:
    return len(list(Path(f"/proc/{server.pid}/task").iterdir()))


@pytest.mark.parametrize("said", [b"", b"GET /metrics HT"])
def test_silent_connections_do_not_delay_a_scrape(endpoint: tuple[Server, Callable[[str], str]], said: bytes) -> None:
    server, fetch = endpoint
    before = most = threads(server)
    with ExitStack() as stack:
        for _ in range(MORE_THAN_THERE_IS_ROOM_FOR):
            silent = stack.enter_context(socket.create_connection(("127.0.0.1", server.metrics_port)))
            silent.sendall(said)
            most = max(most, threads(server))
        for _ in range(3):
            assert "remit_audit_healthy 1.0" in fetch("/metrics")
            most = max(most, threads(server))
        until(lambda: threads(server) <= before + 40, "connections without a place have no thread either")
    # Some that were ended still have theirs for a moment.
    assert most <= before + MORE_THAN_THERE_IS_ROOM_FOR / 2
    until(lambda: threads(server) <= before + 1, "no thread is left of them")
    assert [] == [line for line in server.logs if line.get("level") != "info"]


def test_silent_connection_is_closed(endpoint: tuple[Server, Callable[[str], str]]) -> None:
    server, _ = endpoint
    with socket.create_connection(("127.0.0.1", server.metrics_port), timeout=DEADLINE_S) as silent:
        assert b"" == silent.recv(1)


@pytest.mark.parametrize("path", ["/", "/healthz", "/metrics/", "/metrics2"])
def test_only_the_metrics_path_has_metrics(endpoint: tuple[Server, Callable[[str], str]], path: str) -> None:
    """A probe that is pointed at another must not be green."""
    _, fetch = endpoint
    with pytest.raises(urllib.error.HTTPError) as refused:
        fetch(path)
    with refused.value:
        assert 404 == refused.value.code


def test_metrics_can_be_requested_by_name(endpoint: tuple[Server, Callable[[str], str]]) -> None:
    _, fetch = endpoint
    told = fetch("/metrics?name[]=remit_policy_loads_total")
    assert 'remit_policy_loads_total{outcome="loaded",tenant="acme"} 1.0' in told
    assert "remit_call_seconds" not in told


def test_only_get_is_answered(server: Server) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{server.metrics_port}/metrics", b"x=1", method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=DEADLINE_S)
    with refused.value:
        assert 501 == refused.value.code
