"""A console that is opened once, for one browser."""

from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from remit.console.entrance import Entrance

KEY = "a-key"


async def answer(_: Request) -> PlainTextResponse:
    return PlainTextResponse("answered")


@pytest.fixture
def app() -> Entrance:
    return Entrance(Starlette(routes=[Route("/", answer), Route("/static/style.css", answer)]), key=KEY)


@pytest.fixture
def browser(app: Entrance) -> Iterator[TestClient]:
    with TestClient(app, base_url="http://127.0.0.1:9095") as browser:
        yield browser


def test_nobody_enters_without_the_key(browser: TestClient) -> None:
    for path in ("/", "/static/style.css", "/enter", "/enter?key=", "/enter?key=another", "/enter?key=\u00e4"):
        assert browser.get(path).status_code == 401
    for cookie in (b"remit-entry=", b"remit-entry=a-key", b"=;=;remit-entry", b"remit-entry=\xc3\xa4"):
        assert browser.get("/", headers={b"cookie": cookie}).status_code == 401


def test_the_key_opens_the_console_for_the_browser_that_brings_it_first(browser: TestClient, app: Entrance) -> None:
    first = browser.get(f"/enter?key={KEY}", follow_redirects=False)
    cookie = first.headers["set-cookie"]

    assert first.status_code == 303
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert browser.get("/").text == "answered"
    other = TestClient(app, base_url="http://127.0.0.1:9095")
    assert other.get(f"/enter?key={KEY}").status_code == 401
    assert other.get("/").status_code == 401
