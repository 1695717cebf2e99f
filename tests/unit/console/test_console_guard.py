"""What the console refuses, and the headers that it always sends."""

from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from remit.console.app import back_to
from remit.console.guard import LOOPBACK_HOSTS, MOST_BODY, Guard


async def answer(_: Request) -> PlainTextResponse:
    return PlainTextResponse("answered")


@pytest.fixture
def browser() -> Iterator[TestClient]:
    inner = Starlette(routes=[Route("/", answer, methods=["GET", "POST"])])
    with TestClient(Guard(inner, hosts=LOOPBACK_HOSTS), base_url="http://127.0.0.1:9095") as browser:
        yield browser


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:1", "localhost:9095", "LOCALHOST", "[::1]:9095", "[::1]"])
def test_loopback_names_are_answered_at_any_port(browser: TestClient, host: str) -> None:
    assert browser.get("/", headers={"host": host}).text == "answered"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9095", "127.0.0.1.evil.example", "", "0.0.0.0", "[::2]"]
)
def test_a_name_that_was_pointed_here_is_refused(browser: TestClient, host: str) -> None:
    # DNS rebinding: to the browser, Origin and Host are then alike.
    headers = {"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"}

    assert browser.get("/", headers=headers).status_code == 421
    assert browser.post("/", headers=headers).status_code == 421


def test_two_hosts_are_refused(browser: TestClient) -> None:
    answered = browser.get("/", headers=[("host", "127.0.0.1"), ("host", "evil.example")])

    assert answered.status_code == 421


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        # The header of the browser counts before one that a page could choose.
        ({"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:9095"}, 403),
        ({"origin": "http://127.0.0.1:9095"}, 200),
        ({"origin": "http://127.0.0.1:80"}, 403),
        ({"origin": "https://127.0.0.1:9095"}, 403),
        ({"origin": "null"}, 403),
        ({}, 403),
    ],
)
def test_only_own_pages_post(browser: TestClient, headers: dict[str, str], status: int) -> None:
    assert browser.post("/", headers=headers).status_code == status


def test_too_large_a_body_is_refused_before_it_is_read(browser: TestClient) -> None:
    headers = {"sec-fetch-site": "same-origin", "content-length": str(MOST_BODY + 1)}

    assert browser.post("/", headers=headers).status_code == 413


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}, 403),
        ({"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}, 200),
        ({}, 200),
    ],
)
def test_a_link_may_lead_here_and_an_image_may_not(browser: TestClient, headers: dict[str, str], status: int) -> None:
    assert browser.get("/", headers=headers).status_code == status


@pytest.mark.parametrize("path", ["/", "/unknown"])
def test_strict_headers_stand_on_every_answer(browser: TestClient, path: str) -> None:
    for host in ("127.0.0.1", "evil.example"):
        headers = browser.get(path, headers={"host": host}).headers

        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("t/acme/who?a=B", "./t/acme/who?a=B"),
        ("", "./"),
        ("//evil.example", "./"),
        ("/\\evil.example", "./"),
        ("\\\\evil.example", "./"),
        ("https://evil.example", "./https://evil.example"),
        ("a\r\nset-cookie: b=c", "./"),
    ],
)
def test_the_way_back_leads_to_no_other_host(path: str, expected: str) -> None:
    assert back_to(path) == expected
