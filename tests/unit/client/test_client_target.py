"""The target of a client: what it accepts, and when a proxy may come between."""

import pytest

from remit.client import AsyncClient, Client
from remit.client.target import channel_options

DIRECT = ("grpc.enable_http_proxy", 0)
WRONG = (
    *("127.0.0.1", "remit.example", "", "http://127.0.0.1:9090", "https://remit.example", "::1:9090", "[::1]"),
    *("remit:0", "remit:65536", "remit:grpc", ":9090", "remit.example:9090/", "dns:///remit.example", "re mit:9090"),
)


@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize("target", WRONG)
def test_client_refuses_a_target_that_is_not_host_and_port(client: type[Client | AsyncClient], target: str) -> None:
    with pytest.raises(ValueError, match="expected HOST:PORT") as raised:
        client(target)

    assert repr(target) in str(raised.value)


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
