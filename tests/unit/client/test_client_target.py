"""The target of a client: what it accepts, and when a proxy may come between."""

import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from remit.client import AsyncClient, Client
from remit.client.target import channel_options

WRONG_URLS = (
    *("http://127.0.0.1", "https://remit.example", "http://", "http://:9080", "http://remit:0", "http://remit:65536"),
    *(
        "http://127.0.0.1:9080/",
        "https://remit:9080/api",
        "http://::1:9080",
        "http://me@remit:9080",
        "http://r\u00e9mit:9080",
    ),
)
WRONG_PROXIES = (
    *("socks5://127.0.0.1:1", "http://", "http://[::1:80", "http://proxy:99999", "http://proxy:port"),
    "http://proxy:0",
    *("http://pr\u00f6xy:80", "http://pr\u00f6xy@proxy:80", "http://me:%C3%B6@proxy:80"),
)
DIRECT = ("grpc.enable_http_proxy", 0)
WRONG = (
    *("127.0.0.1", "remit.example", "", "ftp://127.0.0.1:9090", "HTTP://127.0.0.1:9090", "::1:9090", "[::1]"),
    *("remit:0", "remit:65536", "remit:grpc", ":9090", "remit.example:9090/", "dns:///remit.example", "re mit:9090"),
)


@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize("target", WRONG)
def test_client_refuses_a_target_that_is_not_host_and_port(client: type[Client | AsyncClient], target: str) -> None:
    with pytest.raises(ValueError, match="expected HOST:PORT") as raised:
        client(target)

    assert repr(target) in str(raised.value)


@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize("target", WRONG_URLS)
def test_client_refuses_a_url_that_is_not_scheme_host_and_port(client: type[Client | AsyncClient], target: str) -> None:
    with pytest.raises(ValueError, match=r"expected https?://HOST:PORT, for example") as raised:
        client(target)

    assert repr(target) in str(raised.value)


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_credentials_go_over_https_only(client: type[Client | AsyncClient], tmp_path: Path) -> None:
    """Not over plain HTTP to loopback either, as over gRPC."""
    ca = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(ca)

    with pytest.raises(ValueError, match="a token goes over TLS only"):
        client("http://127.0.0.1:9080", token="secret")
    with pytest.raises(ValueError, match="need https://HOST:PORT"):
        client("http://127.0.0.1:9080", server_ca=ca, token="secret")
    with pytest.raises(ValueError, match="name the authority that signed the server's certificate"):
        client("https://127.0.0.1:9080")
    client("https://127.0.0.1:9080", server_ca=ca, token="secret")


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_proxy_of_the_environment_must_be_one_of_http(
    client: type[Client | AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "internal.example")
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("all_proxy", "http_proxy"):
        for url in WRONG_PROXIES:
            monkeypatch.setenv(name, url)
            expected = f"the proxy of the variable `{name}` is none: expected http://HOST:PORT"
            with pytest.raises(ValueError, match=expected):
                client("http://remit.example:9080")
    for target in (
        "http://127.0.0.1:9080",
        "http://[::1]:9080",
        "http://localhost:9080",
        "http://remit.internal.example:1",
    ):
        client(target)


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_client_names_the_extra_that_http_needs(
    client: type[Client | AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [each for each in sys.modules if each.startswith("remit.client.http.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "httpcore", None)

    with pytest.raises(ImportError, match="needs `httpcore`: install remit with the extra `http-client`"):
        client("http://127.0.0.1:9080")
    client("127.0.0.1:9090")


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_http_needs_a_newer_python_than_grpc(
    client: type[Client | AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr(sys, "version_info", (3, 10, 14, "final", 0))
        with pytest.raises(ImportError, match=r"needs Python 3\.11 or newer"):
            client("http://127.0.0.1:9080")


def test_client_of_grpc_loads_no_library_of_http() -> None:
    script = "import sys; from remit.client import Client; Client('127.0.0.1:9090'); print('httpcore' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert "False\n" == done.stdout


@pytest.mark.parametrize(
    "target", ["127.0.0.1:9090", "127.1.2.3:1", "localhost:9090", "[::1]:9090", "dns:///localhost:9090"]
)
def test_loopback_needs_no_proxy(target: str) -> None:
    assert DIRECT in channel_options(target)


@pytest.mark.parametrize(
    "target", ["remit.example:9090", "10.0.0.1:9090", "[fd00::1]:9090", "dns:///remit:9090", "unix:/run/remit.sock"]
)
def test_other_addresses_may_need_one(target: str) -> None:
    assert DIRECT not in channel_options(target)
