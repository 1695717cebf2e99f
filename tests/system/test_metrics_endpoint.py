"""The port of metrics and probes answers whatever else connects to it."""

import os
import shutil
import signal
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
import trustme
from prometheus_client import CollectorRegistry
from support.certificates import Authority
from support.locks import locked
from support.questions import check
from support.server import DEADLINE_S, Server, access_of, until

from remit.service.metrics_endpoint import Readiness, serve_metrics
from remit.service.settings import Settings
from remit.service.version import VERSION

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


def probed(port: int, path: str, context: ssl.SSLContext | None = None) -> tuple[int, str]:
    """The status and the body of a path, as somebody without a certificate gets them."""
    url = f"{'http' if context is None else 'https'}://127.0.0.1:{port}{path}"
    try:
        with urllib.request.urlopen(url, timeout=DEADLINE_S, context=context) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


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


@pytest.mark.parametrize("path", ["/", "/healthz", "/metrics/", "/metrics2", "/livez/", "/readyz/acme", "/readyz2"])
def test_only_the_metrics_path_has_metrics(endpoint: tuple[Server, Callable[[str], str]], path: str) -> None:
    """A probe that is pointed at another must not be green."""
    _, fetch = endpoint
    with pytest.raises(urllib.error.HTTPError) as refused:
        fetch(path)
    with refused.value:
        assert 404 == refused.value.code


def test_metrics_name_the_version_and_the_process(server: Server) -> None:
    assert 1.0 == server.metric("remit_build_info", version=VERSION)
    status = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    (resident,) = (int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:"))
    assert resident == pytest.approx(server.metric("process_resident_memory_bytes"), rel=0.5)


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


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=("one server", "workers"))
def test_probes_need_no_certificate_and_metrics_do(
    tmp_path: Path, untested: Path, authority: Authority, workers: tuple[str, ...]
) -> None:
    flags = authority.server_flags(*authority.signed("server", "127.0.0.1"))
    nameless = ssl.create_default_context(cafile=authority.certificate)
    with Server(tmp_path, *flags, *workers, policies=untested) as server:
        assert (200, "alive\n") == probed(server.metrics_port, "/livez", nameless)
        assert (200, "ready\n") == probed(server.metrics_port, "/readyz?verbose", nameless)
        status, text = probed(server.metrics_port, "/metrics", nameless)
        assert (403, True, False) == (status, "client certificate" in text, "acme" in text)
        assert 404 == probed(server.metrics_port, "/", nameless)[0]


def test_certificate_of_another_authority_gets_no_probe(
    tmp_path: Path, untested: Path, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A certificate is asked for, and one that comes must be good."""
    stranger = ssl.create_default_context(cafile=authority.certificate)
    other = Authority(tmp_path_factory.mktemp("stranger"), trustme.CA())
    stranger.load_cert_chain(*other.signed("stranger", "prometheus.acme.example"))
    flags = authority.server_flags(*authority.signed("server", "127.0.0.1"))
    with (
        Server(tmp_path, *flags, policies=untested) as server,
        pytest.raises((urllib.error.URLError, ssl.SSLError, ConnectionError)),
    ):
        probed(server.metrics_port, "/metrics", stranger)


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=("one server", "workers"))
def test_server_is_ready_while_records_are_written(tmp_path: Path, untested: Path, workers: tuple[str, ...]) -> None:
    """With workers, while each one that serves writes its records."""
    with Server(tmp_path, *workers, "--audit-timeout-s", "0.2", policies=untested) as server:
        port = server.metrics_port

        def refused() -> bool:
            with server.channel() as channel:
                try:
                    access_of(channel).Check(check(), timeout=DEADLINE_S)
                except grpc.RpcError:
                    return True
            return False

        assert (200, "ready\n") == probed(port, "/readyz")
        with locked(tmp_path / ("audit.w2.db" if workers else "audit.db")):
            until(refused, "a call meets the store that takes nothing")
            until(lambda: (503, "unhealthy\n") == probed(port, "/readyz"), "it is not ready")
            assert (200, "alive\n") == probed(port, "/livez")
        until(lambda: (200, "ready\n") == probed(port, "/readyz"), "it is ready again")
        with locked(tmp_path / ("audit.w2.db" if workers else "audit.db")):
            server.ask_to_stop()
            until(lambda: (503, "stopping\n") == probed(port, "/readyz"), "it stops")
            assert (200, "alive\n") == probed(port, "/livez")


@pytest.mark.parametrize("readiness", Readiness)
def test_readiness_is_one_word(readiness: Readiness) -> None:
    port = serve_metrics(Settings(metrics="127.0.0.1:0"), CollectorRegistry(), lambda _: True, lambda: readiness)
    expected = 200 if readiness is Readiness.READY else 503

    assert (expected, f"{readiness.value}\n") == probed(port, "/readyz")
    assert (200, "alive\n") == probed(port, "/livez")


def test_node_is_ready_while_one_of_two_workers_starts_anew(tmp_path: Path, untested: Path) -> None:
    policies = Path(shutil.copytree(untested, tmp_path / "policies"))
    with Server(tmp_path / "audit", "--workers", "2", "--strict", policies=policies) as server:
        (policies / "vocabulary.yaml").write_text("kinds: [\n")
        os.kill(server.children()[0], signal.SIGKILL)
        until(lambda: server.metric("remit_worker_restarts_total") >= 2, "it cannot start")
        until(lambda: server.metric("remit_worker_serving") == 1.0, "the other serves")
        assert (200, "ready\n") == probed(server.metrics_port, "/readyz")
