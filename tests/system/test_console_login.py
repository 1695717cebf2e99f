"""ProviderLogin log in to the console by an OpenID provider, and see what the server lets them see."""

import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from starlette.testclient import TestClient
from support.console import ASKED, ConsoleProcess
from support.console_login import BINDINGS, HOST, World, world_of_people
from support.openid import CLIENT, OpenIdProvider
from support.server import REMIT, environment, free_port, remit, until

from remit.client import AsyncClient, Client, RecordFilter
from remit.console.app import NOT_FOUND, application
from remit.console.login.provider import Provider, ProviderSettings
from remit.console.login.provider_login import RECENT_S, SESSION_COOKIE, START_COOKIE, ProviderLogin
from remit.console.login.sessions import IDLE_S, WHOLE_S, Sessions
from remit.console.options import ConsoleOptions
from remit.console.person import token_of_person
from remit.console.static_files import StoredFiles
from remit.v1.status_service_pb2 import TENANT_STATE_PINNED, TENANT_STATE_SERVING

ROOT = "https://console.acme.example/"
OWN = {"sec-fetch-site": "same-origin"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_of_people(tmp_path_factory.mktemp("login"), f"{ROOT}login/callback") as made:
        yield made


@pytest.fixture(autouse=True)
def as_it_was(world: World) -> Iterator[None]:
    """The provider answers well, whatever the test before made of it."""
    before = vars(world.provider).copy()
    world.provider.id_token, world.provider.access_token, world.provider.metadata = {}, {}, {}
    yield
    changeable = (
        "person",
        "proved_s_ago",
        "lifetime_s",
        "refreshes",
        "signed",
        "answers_as",
        "token_status",
        "behaviour",
    )
    vars(world.provider).update({name: before[name] for name in changeable})


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


@contextmanager
def console(world: World, clock: Clock | None = None, most: int = 100) -> Iterator[TestClient]:
    settings = ProviderSettings(world.provider.url, CLIENT, ROOT, ca=world.provider.ca)
    people = ProviderLogin(Provider(settings), Sessions(clock=clock or Clock(), most=most))
    made = ConsoleOptions(
        lambda: AsyncClient(world.server.target, timeout_s=30, tls=world.tls, token=token_of_person),
        world.server.target,
        hosts=frozenset({HOST}),
        entrance=people,
        secure=True,
    )
    app = application(made)
    with TestClient(app, base_url=ROOT, follow_redirects=False) as browser:
        yield browser


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def browser(world: World, clock: Clock) -> Iterator[TestClient]:
    with console(world, clock) as browser:
        yield browser


def at_provider(world: World, url: str) -> str:
    """Where the provider sends the browser back to."""
    answer = httpx.get(url, verify=world.trusted)
    assert answer.status_code == 302
    return answer.headers["location"]


def until_callback(world: World, browser: httpx.Client, path: str = "/") -> str:
    """Opens a page, and goes to the provider and back, but for the last step."""
    turned_away = browser.get(path)
    assert turned_away.status_code == 303, turned_away.text
    begun = browser.get(turned_away.headers["location"])
    assert begun.headers["location"].startswith(f"{world.provider.url}/authorize?")
    return at_provider(world, begun.headers["location"])


def log_in(world: World, browser: httpx.Client, who: str = "ann", path: str = "/") -> httpx.Response:
    """The page, as who logged in to see it."""
    world.provider.person = who
    ended = browser.get(until_callback(world, browser, path))
    assert ended.status_code == 303, ended.text
    return browser.get(ended.headers["location"])


def overview(page: httpx.Response) -> list[str]:
    assert page.status_code == 200, page.text
    return sorted(set(re.findall(r'href="(?:\./|(?:\.\./)*)t/(\w+)"', page.text)))


def test_two_persons_see_what_their_own_rights_show(world: World, browser: TestClient) -> None:
    page = log_in(world, browser, "ann")
    assert (["acme"], "ann@acme" in page.text) == (overview(page), True)
    world.provider.person = "gil"
    with console(world) as other:
        assert ["globex"] == overview(log_in(world, other, "gil"))
        unknown, forbidden = other.get("/t/nobody"), other.get("/t/acme")
    assert (404, 404) == (unknown.status_code, forbidden.status_code)
    assert NOT_FOUND in unknown.text
    assert unknown.text.replace("nobody", "acme") == forbidden.text


def test_somebody_without_a_right_sees_nothing_though_the_console_may_see_all(
    world: World, browser: TestClient
) -> None:
    with Client(world.server.target, timeout_s=30, tls=world.tls) as itself:
        assert {"acme", "globex"} <= {each.tenant for each in itself.status().tenants}
    page = log_in(world, browser, "zed")
    assert (404, True) == (page.status_code, NOT_FOUND in page.text)
    for path in ("/t/acme", "/t/globex", "/t/acme/who?a=UPDATE&k=FLOW&ns=acme.finance", "/t/acme/revisions"):
        assert browser.get(path).status_code == 404, path


def test_records_name_the_person_as_caller(world: World, browser: TestClient) -> None:
    log_in(world, browser, "ann")
    p, a, k, ns = ASKED
    assert browser.get("/t/acme/explain", params={"p": p, "a": a, "k": k, "ns": ns}).status_code == 200
    with Client(world.server.target, timeout_s=30, tls=world.tls) as itself:
        records = [*itself.list_records(RecordFilter(tenant="acme"))]
    assert ["user:ann"] == [each.caller for each in records if each.question == "EXPLAIN"]


def test_nobody_sees_a_page_before_login(browser: TestClient) -> None:
    for path in ("/", "/t/acme", "/nope", "/t/acme/who?csv=principals"):
        turned_away = browser.get(path)
        assert (303, f"{ROOT}login?{urlencode({'next': path})}") == (
            turned_away.status_code,
            turned_away.headers["location"],
        )
    script = browser.get("/t/acme", headers={**OWN, "sec-fetch-mode": "cors"})
    assert (401, "Log in first.\n") == (script.status_code, script.text)
    assert browser.get(f"/{StoredFiles().path}/style.css").status_code == 200


def test_login_goes_back_to_the_page_that_was_asked_for(world: World, browser: TestClient) -> None:
    page = log_in(world, browser, "ann", "/t/acme/who?a=UPDATE&k=FLOW&ns=acme.finance")
    assert str(page.url) == f"{ROOT}t/acme/who?a=UPDATE&k=FLOW&ns=acme.finance"
    assert "user:bob" in page.text


@pytest.mark.parametrize(
    "path", ["//evil.example", "/\\evil.example", "https://evil.example", "\t//evil", "/\t/evil", "x"]
)
def test_login_leads_to_no_other_host(world: World, browser: TestClient, path: str) -> None:
    begun = browser.get("/login", params={"next": path})
    ended = browser.get(at_provider(world, begun.headers["location"]))
    assert (303, ROOT) == (ended.status_code, ended.headers["location"])


def test_cookies_are_of_this_host_alone_and_no_script_reads_them(world: World, browser: TestClient) -> None:
    begun = browser.get("/login")
    ended = browser.get(at_provider(world, begun.headers["location"]))
    for answer, name in ((begun, START_COOKIE), (ended, SESSION_COOKIE)):
        cookie = next(each for each in answer.headers.get_list("set-cookie") if each.startswith(f"{name}="))
        attributes = {each.strip().lower() for each in cookie.split(";")[1:]}
        assert attributes >= {"secure", "httponly", "samesite=lax", "path=/"}
        assert not any(each.startswith("domain") for each in attributes)
    assert len(browser.cookies[SESSION_COOKIE]) >= 43


def test_provider_is_asked_with_pkce_and_the_redirect_of_the_settings(world: World, browser: TestClient) -> None:
    asked = parse_qs(urlsplit(browser.get("/login").headers["location"]).query)
    assert (["S256"], ["code"], [f"{ROOT}login/callback"]) == (
        asked["code_challenge_method"],
        asked["response_type"],
        asked["redirect_uri"],
    )
    assert "max_age" not in asked
    for one, other in zip(("state", "nonce", "code_challenge"), ("nonce", "state", "state"), strict=True):
        assert len(asked[one][0]) >= 20
        assert asked[one] != asked[other]


def refused(browser: TestClient, callback: str) -> None:
    answer = browser.get(callback)
    assert (400, True) == (answer.status_code, "You are not logged in" in answer.text), answer.text
    assert SESSION_COOKIE not in browser.cookies
    assert browser.get("/").status_code == 303


def test_state_of_another_browser_is_refused(world: World, browser: TestClient) -> None:
    with console(world) as attacker:
        theirs = until_callback(world, attacker)
    refused(browser, theirs)
    until_callback(world, browser)
    refused(browser, theirs)


@pytest.mark.parametrize("state", ["", "swapped"])
def test_right_code_under_another_state_is_refused(world: World, browser: TestClient, state: str) -> None:
    """PKCE stands against the code of another browser: nothing but the state is wrong here."""
    mine = parse_qs(urlsplit(until_callback(world, browser)).query)
    refused(
        browser, f"/login/callback?{urlencode({'code': mine['code'][0], 'state': state, 'iss': world.provider.url})}"
    )


def test_code_of_another_browser_is_refused(world: World, browser: TestClient) -> None:
    with console(world) as attacker:
        theirs = parse_qs(urlsplit(until_callback(world, attacker)).query)["code"][0]
    mine = parse_qs(urlsplit(until_callback(world, browser)).query)
    refused(
        browser, f"/login/callback?{urlencode({'code': theirs, 'state': mine['state'][0], 'iss': world.provider.url})}"
    )


def test_answer_without_a_login_that_began_is_refused(world: World, browser: TestClient) -> None:
    callback = until_callback(world, browser)
    browser.cookies.delete(START_COOKIE)
    refused(browser, callback)


def test_cookie_of_a_login_that_was_made_elsewhere_is_refused(world: World, browser: TestClient) -> None:
    """Another console, or somebody who makes up a cookie: the key that signs it is of this process."""
    with console(world) as other:
        callback = until_callback(world, other)
        cookie = other.cookies[START_COOKIE]
    browser.cookies.set(START_COOKIE, cookie, domain=HOST)
    refused(browser, callback)


def test_code_counts_once(world: World, browser: TestClient) -> None:
    callback = until_callback(world, browser)
    begun = browser.cookies[START_COOKIE]
    assert browser.get(callback).status_code == 303
    browser.cookies.clear()
    refused(browser, callback)
    browser.cookies.set(START_COOKIE, begun, domain=HOST)
    refused(browser, callback)


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "swapped"},
        {"nonce": None},
        {"aud": "other"},
        {"aud": ["other"], "azp": CLIENT},
        {"aud": [CLIENT, "other"], "azp": "other"},
        {"iss": "https://evil.example"},
        {"exp": 1_000_000},
        {"exp": None},
        {"sub": ""},
        {"sub": None},
        {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
    ],
    ids=str,
)
def test_id_token_that_does_not_count_is_refused(world: World, browser: TestClient, claims: dict[str, object]) -> None:
    world.provider.id_token = claims
    refused(browser, until_callback(world, browser))


@pytest.mark.parametrize("how", ["not", "by another key"])
def test_id_token_that_is_not_signed_by_the_provider_is_refused(world: World, browser: TestClient, how: str) -> None:
    world.provider.signed = how  # type: ignore[assignment]
    refused(browser, until_callback(world, browser))


@pytest.mark.parametrize("issuer", [None, "https://evil.example"])
def test_answer_of_another_issuer_is_refused(world: World, browser: TestClient, issuer: str | None) -> None:
    world.provider.answers_as = issuer
    refused(browser, until_callback(world, browser))


def test_refusal_of_the_provider_is_a_page(world: World, browser: TestClient) -> None:
    state = parse_qs(urlsplit(until_callback(world, browser)).query)["state"][0]
    refused(
        browser, f"/login/callback?{urlencode({'error': 'access_denied', 'state': state, 'iss': world.provider.url})}"
    )


def test_session_id_that_somebody_chose_is_never_used(world: World, browser: TestClient) -> None:
    chosen = "A" * 43
    browser.cookies.set(SESSION_COOKIE, chosen, domain=HOST)
    log_in(world, browser)
    assert [chosen] != [each.value for each in browser.cookies.jar if each.name == SESSION_COOKIE]
    browser.cookies.clear()
    browser.cookies.set(SESSION_COOKIE, chosen, domain=HOST)
    assert browser.get("/").status_code == 303


def test_each_login_has_a_new_id_and_ends_the_session_before(world: World, browser: TestClient) -> None:
    log_in(world, browser)
    first = browser.cookies[SESSION_COOKIE]
    begun = browser.get("/login")
    assert browser.get(at_provider(world, begun.headers["location"])).status_code == 303
    assert first != browser.cookies[SESSION_COOKIE]
    browser.cookies.clear()
    browser.cookies.set(SESSION_COOKIE, first, domain=HOST)
    assert browser.get("/").status_code == 303


def test_logout_ends_the_session_here_and_at_the_provider(world: World, browser: TestClient) -> None:
    log_in(world, browser)
    session = browser.cookies[SESSION_COOKIE]
    logged_out = browser.post("/logout", headers=OWN)
    assert logged_out.headers["location"].startswith(f"{world.provider.url}/end?")
    after = at_provider(world, logged_out.headers["location"])
    assert f"{ROOT}logged-out" == after.partition("?")[0]
    shown = browser.get(after)
    assert (200, True, False) == (shown.status_code, "Your session has ended" in shown.text, "ann@acme" in shown.text)
    assert world.provider.logged_out[-1]["client_id"] == CLIENT
    browser.cookies.set(SESSION_COOKIE, session, domain=HOST)
    assert browser.get("/").status_code == 303


def test_another_site_logs_nobody_out(world: World, browser: TestClient) -> None:
    log_in(world, browser)
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}, {}):
        assert browser.post("/logout", headers=headers).status_code == 403
    assert browser.get("/logout").status_code == 405
    assert browser.get("/").status_code == 200


def test_provider_pages_are_the_only_other_ones_that_forms_lead_to(world: World, browser: TestClient) -> None:
    policy = log_in(world, browser).headers["content-security-policy"]
    assert f"form-action 'self' {world.provider.url};" in policy
    assert browser.get("/login").headers["strict-transport-security"]


def test_another_name_is_refused(world: World, browser: TestClient) -> None:
    log_in(world, browser)
    for host in ("evil.example", "127.0.0.1", f"{HOST}.evil.example"):
        assert browser.get("/", headers={"host": host}).status_code == 421


def test_session_ends_unused_after_half_an_hour(world: World, browser: TestClient, clock: Clock) -> None:
    log_in(world, browser)
    for _ in range(3):
        clock.now_s += IDLE_S - 1
        assert browser.get("/").status_code == 200
    clock.now_s += IDLE_S
    assert browser.get("/").status_code == 303


def test_script_of_a_page_keeps_no_session_alive(world: World, browser: TestClient, clock: Clock) -> None:
    log_in(world, browser)
    clock.now_s += IDLE_S - 1
    assert browser.get("/", headers={**OWN, "sec-fetch-mode": "cors"}).status_code == 200
    clock.now_s += 1
    assert browser.get("/").status_code == 303


def test_session_ends_after_eight_hours_however_much_it_is_used(
    world: World, browser: TestClient, clock: Clock
) -> None:
    log_in(world, browser)
    end_s = clock.now_s + WHOLE_S
    while clock.now_s + IDLE_S - 60 < end_s:
        clock.now_s += IDLE_S - 60
        assert browser.get("/").status_code == 200
    clock.now_s = end_s
    assert browser.get("/").status_code == 303


def test_new_session_ends_the_one_that_was_unused_for_longest(world: World) -> None:
    with console(world, most=2) as browser:
        ids = []
        for who in ("ann", "gil", "ann"):
            browser.cookies.clear()
            log_in(world, browser, who)
            ids.append(browser.cookies[SESSION_COOKIE])
        found = []
        for each in ids:
            browser.cookies.clear()
            browser.cookies.set(SESSION_COOKIE, each, domain=HOST)
            found.append(browser.get("/").status_code)
    assert [303, 200, 200] == found


def test_token_is_renewed_before_it_expires(world: World, browser: TestClient) -> None:
    world.provider.lifetime_s = 1
    page = log_in(world, browser)
    assert ["acme"] == overview(page)
    before = len(world.provider.asked)
    assert ["acme"] == overview(browser.get("/"))
    assert before == len(world.provider.asked), "nobody logged in again"


def test_person_logs_in_again_where_the_token_cannot_be_renewed(world: World, browser: TestClient) -> None:
    world.provider.lifetime_s, world.provider.refreshes = 1, False
    ended = browser.get(until_callback(world, browser))
    assert ended.status_code == 303
    until(lambda: browser.get("/").status_code == 303, "the token expires")


def test_provider_that_refuses_to_renew_ends_the_session(world: World, browser: TestClient) -> None:
    world.provider.lifetime_s = 1
    log_in(world, browser)
    world.provider._refresh.clear()
    assert browser.get("/").status_code == 303
    world.provider.lifetime_s = 300
    assert ["acme"] == overview(log_in(world, browser))


def test_provider_that_is_away_is_told_and_ends_no_session(world: World, browser: TestClient) -> None:
    world.provider.lifetime_s = 1
    log_in(world, browser)
    world.provider.token_status = 503
    until(lambda: browser.get("/").status_code == 503, "the token expires")
    away = browser.get("/")
    assert "The login provider does not answer" in away.text
    world.provider.token_status = 200
    assert browser.get("/").status_code == 200


def test_token_that_the_server_refuses_is_told_where_it_is_new(world: World, browser: TestClient, clock: Clock) -> None:
    """Else the provider would let the person in again and again."""
    world.provider.access_token = {"aud": "other"}
    world.provider.person = "ann"
    ended = browser.get(until_callback(world, browser))
    page = browser.get(ended.headers["location"])
    assert (401, True) == (page.status_code, "the server does not accept its token" in page.text)


def test_token_that_the_server_refuses_later_leads_to_login(world: World, browser: TestClient, clock: Clock) -> None:
    world.provider.access_token = {"exp": 1}
    ended = browser.get(until_callback(world, browser))
    clock.now_s += 61
    turned_away = browser.get(ended.headers["location"])
    assert (303, f"{ROOT}login?next=%2F") == (turned_away.status_code, turned_away.headers["location"])
    world.provider.access_token = {}
    assert ["acme"] == overview(log_in(world, browser))


def test_right_that_was_revoked_is_gone_at_the_next_page(world: World, browser: TestClient) -> None:
    assert browser.get("/t/acme").status_code == 303
    log_in(world, browser)
    assert browser.get("/t/acme").status_code == 200
    try:
        world.bindings.write_text(BINDINGS.replace("user:ann", "user:ned"))
        until(lambda: browser.get("/t/acme").status_code == 404, "the right ends")
    finally:
        world.bindings.write_text(BINDINGS)
    until(lambda: browser.get("/t/acme").status_code == 200, "the right is back")


def test_who_pins_proves_again_who_they_are(world: World, browser: TestClient, clock: Clock) -> None:
    with Client(world.server.target, timeout_s=30, tls=world.tls) as itself:
        (acme,) = itself.status("acme").tenants

        def state() -> int:
            return itself.status("acme").tenants[0].state

        path = f"/t/acme/pin?rev={acme.revision}"
        again = f"{ROOT}login?{urlencode({'next': path, 'recent': 1})}"
        world.provider.proved_s_ago = 3600
        turned_away = log_in(world, browser, "olga", path)
        assert (303, again) == (turned_away.status_code, turned_away.headers["location"])
        begun = browser.get(again)
        assert parse_qs(urlsplit(begun.headers["location"]).query)["max_age"] == [str(RECENT_S)]
        old = browser.get(at_provider(world, begun.headers["location"]))
        assert (400, True) == (old.status_code, "did not ask you again" in old.text)

        world.provider.proved_s_ago = 0
        assert log_in(world, browser, "olga", path).status_code == 200
        clock.now_s += RECENT_S
        form = {"rev": acme.revision, "tenant": "acme"}
        late = browser.post(path, data=form, headers=OWN)
        assert (303, again, TENANT_STATE_SERVING) == (late.status_code, late.headers["location"], state())
        assert browser.get("/t/acme").status_code == 200, "all else goes on"

        browser.get(at_provider(world, browser.get(again).headers["location"]))
        done = browser.post(path, data=form, headers=OWN)
        assert (303, TENANT_STATE_PINNED) == (done.status_code, state())
        acts = [each.detail for each in itself.list_lifecycle("acme") if "PIN" in each.type]
        assert [True] == ["user:olga" in each for each in acts]
        assert browser.post(path, data={"rev": "", "tenant": "acme"}, headers=OWN).status_code == 303


def test_proof_without_its_time_does_not_count(world: World, browser: TestClient) -> None:
    world.provider.id_token = {"auth_time": None}
    turned_away = log_in(world, browser, "olga", "/t/acme/pin")
    begun = browser.get(turned_away.headers["location"])
    assert browser.get(at_provider(world, begun.headers["location"])).status_code == 400


def test_live_page_is_shown_to_each_person_by_their_own_right(world: World, browser: TestClient) -> None:
    assert log_in(world, browser, "ann", "/t/acme/live").status_code == 200
    # The same console, whose stream of the tenant is open.
    browser.cookies.clear()
    denied = log_in(world, browser, "gil", "/t/acme/live")
    assert (404, True) == (denied.status_code, NOT_FOUND in denied.text)


def test_provider_that_was_away_at_the_start_is_asked_at_the_login(world: World, browser: TestClient) -> None:
    world.provider.behaviour = "error"
    away = browser.get("/login")
    assert (503, True) == (away.status_code, "The login provider does not answer" in away.text)
    world.provider.behaviour = "good"
    assert ["acme"] == overview(log_in(world, browser))


# The command, as a process with TLS.


@dataclass
class Outside:
    """A console that listens beyond loopback."""

    world: World
    provider: OpenIdProvider
    flags: list[str]
    url: str


@pytest.fixture
def outside(world: World) -> Iterator[Outside]:
    url, flags = world.console_flags("0.0.0.0")
    yield Outside(world, world.provider, flags, url)
    world.provider.redirect_uri = f"{ROOT}login/callback"


def test_console_beyond_loopback_lets_people_in_over_tls(world: World, outside: Outside, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    flags = (*outside.flags, "--oidc-client-secret-file", str(secret), "--oidc-audience", "https://remit.acme.example")
    world.provider.secret = "s3cret"
    try:
        with ConsoleProcess(world.server, *flags) as process:
            assert process.url == outside.url
            with httpx.Client(base_url=process.url, verify=world.trusted) as browser:
                assert ["acme"] == overview(log_in(world, browser, "ann"))
                assert browser.get("/t/globex").status_code == 404
                assert browser.post("/logout", headers=OWN).status_code == 303
                assert browser.get("/").status_code == 303
            asked = world.provider.asked[-1]
            assert {"https://remit.acme.example"} == {asked["audience"], asked["resource"]}
            with socket.create_connection(("127.0.0.1", urlsplit(process.url).port or 0), timeout=10) as plain:
                plain.sendall(b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
                with suppress(ConnectionResetError):
                    assert b"HTTP/" not in plain.recv(1000)
    finally:
        world.provider.secret = ""


def test_console_behind_a_proxy_that_ends_tls_has_its_path(world: World, outside: Outside) -> None:
    """The proxy takes the path away before it passes a request on."""
    port = free_port()
    world.provider.redirect_uri = "https://acme.example/tools/remit/login/callback"
    flags = changed(
        changed(outside.flags, "--listen", f"127.0.0.1:{port}"), "--public-url", "https://acme.example/tools/remit"
    )
    place = flags.index("--https-cert")
    with (
        ConsoleProcess(world.server, *flags[:place], *flags[place + 4 :]) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"host": "acme.example"}) as passed_on,
    ):
        assert process.url == "https://acme.example/tools/remit/"
        turned_away = passed_on.get("/t/acme?x=1").headers["location"]
        assert turned_away == "https://acme.example/tools/remit/login?next=%2Ft%2Facme%3Fx%3D1"
        begun = passed_on.get("/login?next=%2Ft%2Facme%3Fx%3D1")
        cookies = {START_COOKIE: begun.cookies[START_COOKIE]}
        back = urlsplit(at_provider(world, begun.headers["location"]))
        ended = passed_on.get(f"/login/callback?{back.query}", headers={"cookie": _cookie(cookies)})
        assert ended.headers["location"] == "https://acme.example/tools/remit/t/acme?x=1"
        session = _cookie({SESSION_COOKIE: ended.cookies[SESSION_COOKIE]})
        assert passed_on.get("/t/acme", headers={"cookie": session}).status_code == 200


def test_renewed_certificate_is_seen_without_a_restart(world: World, outside: Outside, tmp_path: Path) -> None:
    files = [tmp_path / "browsers.pem", tmp_path / "browsers.key"]

    def put(name: str) -> str:
        for source, file in zip(world.authority.signed(name, "127.0.0.1"), files, strict=True):
            shutil.copy(source, file)
        return files[0].read_text().strip()

    first = put("first")
    flags = changed(changed(outside.flags, "--https-cert", str(files[0])), "--https-key", str(files[1]))
    with ConsoleProcess(world.server, *flags) as process:

        def seen() -> str:
            return ssl.get_server_certificate(("127.0.0.1", urlsplit(process.url).port or 0)).strip()

        assert seen() in first
        second = put("second")
        until(lambda: seen() in second, "the new certificate is seen")


def _cookie(cookies: Mapping[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


def started(*flags: str) -> tuple[int, str]:
    done = remit("console", *flags)
    return done.returncode, done.stderr


def test_console_says_what_is_missing_beyond_loopback(outside: Outside) -> None:
    code, text = started("--listen", "0.0.0.0:0", "--target", outside.world.server.target)
    assert code == 2
    for name in ("--listen", "--public-url", "--oidc-issuer", "--oidc-client-id", "--https-cert", "--https-key"):
        assert name in text
    for pair in range(0, len(outside.flags), 2):
        name = outside.flags[pair]
        if name in {"--listen", "--oidc-ca"}:
            continue
        left = outside.flags[:pair] + outside.flags[pair + 2 :]
        code, text = started(*left)
        assert (code, name in text) == (2, True), (name, text)


def changed(flags: list[str], name: str, value: str) -> list[str]:
    place = flags.index(name) + 1 if name in flags else None
    return [*flags, name, value] if place is None else [*flags[:place], value, *flags[place + 1 :]]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("--public-url", "http://127.0.0.1/", "expected a URL such as https://"),
        ("--public-url", "https://x.example/?a=b", "expected a URL such as https://"),
        ("--oidc-issuer", "http://127.0.0.1/", "expected a URL such as https://"),
        ("--oidc-issuer", "{issuer}/elsewhere", "answers 404"),
        ("--oidc-ca", "/nowhere.pem", "`/nowhere.pem`"),
        ("--oidc-client-secret-file", "/nowhere", "`/nowhere` cannot be read"),
        ("--oidc-scopes", "profile", "expected `openid`"),
        ("--https-key", "/nowhere.key", "`/nowhere.key` cannot be read"),
        ("--token-file", "/nowhere.key", "leave it out"),
    ],
)
def test_wrong_setting_is_named(outside: Outside, name: str, value: str, said: str) -> None:
    code, text = started(*changed(outside.flags, name, value.format(issuer=outside.provider.url)))
    assert (code, name in text, said in text) == (2, True, True), text


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"issuer": "https://evil.example"}, "its issuer is `https://evil.example`"),
        (
            {"token_endpoint": "http://127.0.0.1/token"},
            "`token_endpoint` is `http://127.0.0.1/token`: expected an https URL",
        ),
        ({"jwks_uri": None}, "`jwks_uri` is `None`"),
        ({"code_challenge_methods_supported": ["plain"]}, "PKCE"),
        ({"id_token_signing_alg_values_supported": ["none", "HS256"]}, "signs id_tokens by none of"),
    ],
)
def test_provider_that_does_not_fit_is_told_at_the_start(
    outside: Outside, metadata: dict[str, object], said: str
) -> None:
    outside.provider.metadata = metadata
    code, text = started(*outside.flags)
    assert (code, "--oidc-issuer" in text, said in text) == (2, True, True), text


def test_provider_that_is_away_at_the_start_is_a_warning(world: World, outside: Outside) -> None:
    outside.provider.behaviour = "error"
    command = [REMIT, "console", "--target", world.server.target, *outside.flags]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment({}), cwd="/", **pipes) as process:  # type: ignore[call-overload]
        assert outside.url in process.stdout.readline()
        process.terminate()
        assert "warning: nobody can log in now" in process.communicate(timeout=30)[1]


def test_opening_once_and_login_exclude_each_other(outside: Outside) -> None:
    code, text = started(*outside.flags, "--once")
    assert (code, "--once" in text) == (2, True)
