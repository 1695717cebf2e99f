"""What a client says when it cannot connect: what is wrong, and whose it is."""

import ipaddress
import socket
import threading
from collections.abc import Iterator
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme
from cryptography import x509
from support.certificates import Authority
from support.clients import CONNECTS, Connect
from support.server import Server, free_port, remit

from remit.client import AsyncClient, Client, DecisionUnavailable, MutualTls

QUESTION = ("user:bob", "VIEW", "FLOW", "acme.finance")
TIMEOUT_S = 1.0


FAULTS = {
    "no TLS to a TLS server": (
        "mutual",
        "plain",
        "`{target}` speaks TLS, and this client does not: name the authority",
    ),
    "TLS to a server without it": (
        "plain",
        "known",
        "`{target}` speaks no TLS, and this client does: set `tls_cert` and `tls_key` of the server",
    ),
    "another authority": ("mutual", "deceived", "no authority in `{server_ca}` signed the certificate of `{target}`"),
    "another host name": (
        "misnamed",
        "known",
        "the certificate of `{target}` is not for `127.0.0.1`: connect to a name that it has, `remit.example`",
    ),
    "an expired certificate of the server": (
        "expired",
        "known",
        "the certificate of `{target}` has expired: the server needs a new one",
    ),
    "no certificate of the client": (
        "mutual",
        "nameless",
        "`{target}` needs a certificate of this client, with its key",
    ),
    "a client's certificate of another authority": (
        "mutual",
        "foreign",
        "`{target}` refuses this client's certificate `{cert}`: it has expired, or no authority",
    ),
    "an expired certificate of the client": (
        "mutual",
        "old",
        "`{target}` refuses this client's certificate `{cert}`: it has expired, or no authority",
    ),
    "another program": ("website", "plain", "`{target}` is no gRPC server: is another program there?"),
    "nobody": ("nobody", "plain", "nothing listens on `{target}`: is `remit serve` running there?"),
}
"""The server that is asked, who asks, and what the error says."""


class Fault(NamedTuple):
    target: str
    options: dict[str, Any]
    message: str


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), trustme.CA())


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), trustme.CA())


@pytest.fixture(scope="module")
def caller(authority: Authority) -> tuple[Path, Path]:
    return authority.signed("caller", "web.acme.example")


def _serving(folder: Path, policies: Path, *flags: str) -> Iterator[str]:
    with Server(folder, *flags, policies=policies) as server:
        yield server.target


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory, untested: Path, authority: Authority) -> Iterator[str]:
    files = authority.signed("server", "127.0.0.1")
    yield from _serving(tmp_path_factory.mktemp("mutual"), untested, *authority.server_flags(*files))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, untested: Path) -> Iterator[str]:
    yield from _serving(tmp_path_factory.mktemp("plain"), untested)


@pytest.fixture(scope="module")
def misnamed(tmp_path_factory: pytest.TempPathFactory, untested: Path, authority: Authority) -> Iterator[str]:
    files = authority.signed("misnamed", "remit.example")
    yield from _serving(tmp_path_factory.mktemp("misnamed"), untested, *authority.server_flags(*files))


@pytest.fixture(scope="module")
def expired(tmp_path_factory: pytest.TempPathFactory, untested: Path, authority: Authority) -> Iterator[str]:
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    files = authority.issued("expired", [address], lifetime_s=-3600)
    yield from _serving(tmp_path_factory.mktemp("expired"), untested, *authority.server_flags(*files))


@pytest.fixture(scope="module")
def website() -> Iterator[str]:
    """A server of HTTP/1, such as Prometheus on its own port 9090."""
    with HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def nobody() -> str:
    return f"127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def options(authority: Authority, stranger: Authority, caller: tuple[Path, Path]) -> dict[str, dict[str, Any]]:
    """The arguments of clients, by who they are."""
    foreign = stranger.signed("foreign", "web.acme.example")
    old = authority.issued("old", [x509.DNSName("web.acme.example")], lifetime_s=-3600)
    return {
        "plain": {},
        "known": {"tls": authority.caller(caller)},
        "deceived": {"tls": MutualTls(stranger.certificate, *caller)},
        "nameless": {"server_ca": authority.certificate, "token": "none"},
        "foreign": {"tls": authority.caller(foreign)},
        "old": {"tls": authority.caller(old)},
    }


@pytest.fixture(params=FAULTS)
def fault(request: pytest.FixtureRequest, options: dict[str, dict[str, Any]]) -> Fault:
    server, who, message = FAULTS[request.param]
    target: str = request.getfixturevalue(server)
    tls = options[who].get("tls")
    files = {"server_ca": tls.server_ca, "cert": tls.cert} if tls is not None else {}
    return Fault(target, options[who], message.format(target=target, **files))


@pytest.mark.parametrize("connect", CONNECTS.values(), ids=CONNECTS)
def test_client_says_why_it_cannot_connect(fault: Fault, connect: Connect) -> None:
    with (
        connect(fault.target, timeout_s=TIMEOUT_S, **fault.options) as client,
        pytest.raises(DecisionUnavailable) as caught,
    ):
        client.tenant("acme").check(*QUESTION)
    assert "UNAVAILABLE" == caught.value.code
    assert fault.message in str(caught.value)
    assert caught.value.__cause__ is not None


def test_command_says_why_it_cannot_connect(fault: Fault, tmp_path: Path) -> None:
    flags: list[str] = []
    if "tls" in fault.options:
        tls = fault.options["tls"]
        flags = ["--tls-server-ca", str(tls.server_ca), "--tls-cert", str(tls.cert), "--tls-key", str(tls.key)]
    elif fault.options:
        token = tmp_path / "token"
        token.write_text(fault.options["token"])
        flags = ["--tls-server-ca", str(fault.options["server_ca"]), "--token-file", str(token)]
    asked = remit("check", "acme", *QUESTION, "--target", fault.target, "--timeout", str(TIMEOUT_S), *flags)
    assert 3 == asked.returncode
    assert fault.message in " ".join(asked.stderr.split())


def test_stream_says_why_it_cannot_connect() -> None:
    with (
        Client(f"127.0.0.1:{free_port()}", timeout_s=TIMEOUT_S) as client,
        pytest.raises(DecisionUnavailable, match="nothing listens on"),
    ):
        next(client.follow_records())


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_client_refuses_a_certificate_without_its_key(
    authority: Authority, caller: tuple[Path, Path], client: type[Client | AsyncClient]
) -> None:
    _, other = authority.signed("other", "other.acme.example")
    with pytest.raises(OSError, match="are no certificate with its key: key values mismatch") as caught:
        client("127.0.0.1:9090", tls=MutualTls(authority.certificate, caller[0], other))
    assert f"`{caller[0]}` and `{other}`" in str(caught.value)


@pytest.mark.parametrize("missing", [0, 1, 2])
@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize("target", ["127.0.0.1:9090", "https://127.0.0.1:9080"])
def test_client_names_the_file_that_it_cannot_read(
    authority: Authority, caller: tuple[Path, Path], client: type[Client | AsyncClient], target: str, missing: int
) -> None:
    files = [str(authority.certificate), *map(str, caller)]
    files[missing] = "missing.pem"
    with pytest.raises(FileNotFoundError, match=r"missing\.pem"):
        client(target, tls=MutualTls(*files))
    with pytest.raises(FileNotFoundError, match=r"missing\.pem"):
        client(target, server_ca="missing.pem", token="none")


def test_command_names_the_file_that_it_cannot_read(authority: Authority, caller: tuple[Path, Path]) -> None:
    files = ("--tls-server-ca", str(authority.certificate), "--tls-cert", str(caller[0]), "--tls-key", "missing.pem")
    asked = remit("status", "--target", "127.0.0.1:9090", *files)
    assert (2, "`missing.pem` cannot be read: No such file or directory") == (asked.returncode, asked.stderr.strip())


def test_command_refuses_a_certificate_without_its_key(authority: Authority, caller: tuple[Path, Path]) -> None:
    _, other = authority.signed("other", "other.acme.example")
    files = ("--tls-server-ca", str(authority.certificate), "--tls-cert", str(caller[0]), "--tls-key", str(other))
    asked = remit("status", "--target", "127.0.0.1:9090", *files)
    assert 2 == asked.returncode
    assert f"`{caller[0]}` and `{other}` are no certificate with its key" in " ".join(asked.stderr.split())


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_client_refuses_an_authority_that_is_none(tmp_path: Path, client: type[Client | AsyncClient]) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("none\n")
    with pytest.raises(OSError, match="holds no certificate of an authority"):
        client("127.0.0.1:9090", server_ca=empty, token="none")


def test_silent_server_leaves_the_text_of_grpc() -> None:
    """Nothing is claimed about a server that only listens."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        with (
            Client(target, timeout_s=TIMEOUT_S) as client,
            pytest.raises(DecisionUnavailable, match="DEADLINE_EXCEEDED"),
        ):
            client.tenant("acme").check(*QUESTION)
