"""The console names people to a server that takes no tokens of their provider."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from starlette.testclient import TestClient
from support.console import ConsoleProcess
from support.console_login import CONSOLE, HOST, World, world_of_people
from support.openid import CLIENT
from support.server import remit, until

from remit.client import AsyncClient, Client, RecordFilter
from remit.console.app import NOT_FOUND, application
from remit.console.login.provider import Provider, ProviderSettings
from remit.console.login.provider_login import ProviderLogin
from remit.console.options import ConsoleOptions
from remit.console.person import principal_of_person

ACTS = f"p, {CONSOLE}, _callers, **, REMIT_INSTANCE, ACT_FOR, allow\n"
ROOT = f"https://{HOST}/"
OWN = {"sec-fetch-site": "same-origin"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_of_people(tmp_path_factory.mktemp("acting"), "https://console.acme.example/") as made:
        # The server takes no such token.
        made.provider.access_token = {"aud": "elsewhere"}
        yield made


def put_rights(world: World, rows: str) -> None:
    with Client(world.server.target, timeout_s=30, tls=world.tls) as itself:
        before = itself.status("_callers").tenants[0].revision
        world.bindings.write_text(rows)
        until(lambda: itself.status("_callers").tenants[0].revision != before, "the rights are in force")


@pytest.fixture
def acting(world: World) -> Iterator[None]:
    before = world.bindings.read_text()
    put_rights(world, before + ACTS)
    yield
    put_rights(world, before)


@contextmanager
def console(world: World, claim: str = "sub") -> Iterator[str]:
    url, flags = world.console_flags("127.0.0.1")
    with ConsoleProcess(world.server, *flags, "--act-for", claim):
        yield url


@contextmanager
def logged_in(world: World, url: str, who: str) -> Iterator[httpx.Client]:
    world.provider.person = who
    with httpx.Client(base_url=url, verify=world.trusted) as browser:
        begun = browser.get(browser.get("/").headers["location"])
        back = httpx.get(begun.headers["location"], verify=world.trusted)
        browser.get(back.headers["location"])
        yield browser


def tenants(browser: httpx.Client) -> list[str]:
    return sorted(set(re.findall(r'href="(?:\./)*t/(\w+)"', browser.get("/").text)))


@pytest.mark.usefixtures("acting")
def test_each_person_sees_what_their_own_rights_show_and_is_recorded_by_name(world: World) -> None:
    with console(world) as url:
        with logged_in(world, url, "ann") as browser:
            assert ["acme"] == tenants(browser)
            asked = "p=user:bob&a=UPDATE&k=FLOW&ns=acme.legal"
            assert 200 == browser.get(f"/t/acme/explain?{asked}").status_code
            assert 404 == browser.get("/t/globex").status_code
        with logged_in(world, url, "gil") as browser:
            assert ["globex"] == tenants(browser)
            assert 404 == browser.get("/t/acme/live").status_code
        with logged_in(world, url, "zed") as browser:
            nothing = browser.get("/")
            assert (404, True) == (nothing.status_code, NOT_FOUND in nothing.text)
    with Client(world.server.target, timeout_s=30, tls=world.tls) as itself:
        where = RecordFilter(tenant="acme", namespace="acme.legal", caller="user:ann")
        (record,) = itself.list_records(where)
    assert ("EXPLAIN", CONSOLE) == (record.question, json.loads(record.detail)["via"])


@pytest.mark.usefixtures("acting")
def test_nobody_changes_the_server(world: World) -> None:
    with console(world) as url, logged_in(world, url, "olga") as browser:
        serving = re.findall(r"rev=([0-9a-f]{64})", browser.get("/t/acme/revisions").text)[0]
        done = browser.post(f"/t/acme/pin?rev={serving}", data={"rev": serving, "tenant": "acme"}, headers=OWN)
    assert (403, True) == (done.status_code, "`user:olga` may not PIN in `acme`" in done.text)


def test_console_without_the_right_shows_nobody_anything(world: World) -> None:
    with console(world) as url, logged_in(world, url, "ann") as browser:
        for path in ("/", "/t/acme", "/t/acme/explain?p=user:bob&a=UPDATE&k=FLOW&ns=acme.finance"):
            answer = browser.get(path)
            assert (404, True) == (answer.status_code, NOT_FOUND in answer.text), path


@pytest.mark.parametrize("value", [None, "", "ann smith", "ann,user:bob", 7])
def test_claim_that_names_nobody_ends_the_login(
    world: World, value: object, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.provider, "redirect_uri", f"{ROOT}login/callback")
    monkeypatch.setattr(world.provider, "id_token", {"employee": value})
    settings = ProviderSettings(world.provider.url, CLIENT, ROOT, ca=world.provider.ca, act_for="employee")
    made = ConsoleOptions(
        lambda: AsyncClient(world.server.target, timeout_s=30, tls=world.tls, act_for=principal_of_person),
        world.server.target,
        hosts=frozenset({HOST}),
        entrance=ProviderLogin(Provider(settings)),
        secure=True,
    )
    with TestClient(application(made), base_url=ROOT, follow_redirects=False) as browser:
        begun = browser.get(browser.get("/").headers["location"])
        back = httpx.get(begun.headers["location"], verify=world.trusted)
        assert 400 == browser.get(back.headers["location"]).status_code
        assert 303 == browser.get("/t/acme").status_code
    assert "the id_token has no claim `employee` that can be the ID of a principal" in caplog.text


def test_console_needs_a_credential_of_its_own_and_a_login(world: World) -> None:
    _, flags = world.console_flags("127.0.0.1")
    place = flags.index("--tls-cert")
    without = remit("console", *flags[:place], "--act-for", "sub")
    assert (2, True) == (without.returncode, "--act-for: the console shows a credential of its own" in without.stderr)
    alone = remit("console", "--listen", "127.0.0.1:0", "--act-for", "sub")
    assert (2, True) == (alone.returncode, "login needs --public-url, --oidc-issuer" in alone.stderr)
