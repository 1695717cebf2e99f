"""A console that is opened once, for one browser."""

from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from remit.console.login.admission import Admission
from remit.console.login.invitation import Invitation
from remit.console.render import Renderer


async def answer(_: Request) -> PlainTextResponse:
    return PlainTextResponse("answered")


@pytest.fixture
def invitation() -> Invitation:
    return Invitation()


@pytest.fixture
def app(invitation: Invitation) -> Admission:
    inner = Starlette(routes=[*invitation.routes, Route("/", answer)])
    return Admission(inner, entrance=invitation, renderer=Renderer((), "127.0.0.1:9090", "static"))


@pytest.fixture
def browser(app: Admission) -> Iterator[TestClient]:
    with TestClient(app, base_url="http://127.0.0.1:9095") as browser:
        yield browser


def test_nobody_enters_without_the_key(browser: TestClient, invitation: Invitation) -> None:
    for path in ("/", "/t/acme", "/enter", "/enter?key=", "/enter?key=another", "/enter?key=\u00e4"):
        assert browser.get(path).status_code == 401
    for cookie in (b"", b"=", b"a-key", b"=\xc3\xa4", b";=;"):
        assert browser.get("/", headers={b"cookie": invitation.cookie.encode() + cookie}).status_code == 401


def test_the_key_opens_the_console_for_the_browser_that_brings_it_first(
    browser: TestClient, app: Admission, invitation: Invitation
) -> None:
    url = f"/{invitation.path}"
    first = browser.get(url, follow_redirects=False)
    cookie = first.headers["set-cookie"]

    assert first.status_code == 303
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert browser.get("/").text == "answered"
    other = TestClient(app, base_url="http://127.0.0.1:9095")
    assert other.get(url).status_code == 401
    assert other.get("/").status_code == 401
