"""What the console shows to people who may not see everything."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import trustme
from starlette.testclient import TestClient
from support.certificates import Authority
from support.server import DEADLINE_S, POLICIES, Server, until

from remit.client import AsyncClient, Client
from remit.console.app import NOT_FOUND, application
from remit.console.options import ConsoleOptions
from remit.console.pages import PAGES

ENFORCER, READER, AUDITOR = "shop.example.org", "ci.example.org", "auditor.example.org"
RIGHTS = f"""
g, service:dns/{ENFORCER}, role:enforcer, _callers/acme
g, service:dns/{READER}, role:reader, _callers/acme
g, service:dns/{AUDITOR}, role:auditor, _callers/acme
"""
Browse = Callable[[str], AbstractContextManager[TestClient]]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), trustme.CA())


@pytest.fixture(scope="module")
def callers(tmp_path_factory: pytest.TempPathFactory, untested: Path) -> Path:
    """The file that says who is which caller."""
    policies = Path(shutil.copytree(untested, tmp_path_factory.mktemp("rights") / "policies"))
    shutil.copytree(POLICIES / "_callers", policies / "_callers", ignore=shutil.ignore_patterns("tests"))
    file = policies / "_callers" / "bindings.csv"
    file.write_text(file.read_text() + RIGHTS)
    return file


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, callers: Path, authority: Authority) -> Iterator[Server]:
    flags = authority.server_flags(*authority.signed("server", "127.0.0.1"))
    with Server(tmp_path_factory.mktemp("server"), *flags, policies=callers.parents[1]) as server:
        yield server


@pytest.fixture
def browse(server: Server, authority: Authority) -> Browse:
    """A browser at a console that asks with the certificate of that name."""

    def browsing(name: str) -> TestClient:
        tls = authority.caller(authority.signed(name, name))
        made = ConsoleOptions(
            lambda: AsyncClient(server.target, timeout_s=DEADLINE_S, tls=tls), server.target, ask_again_s=0
        )
        return TestClient(application(made), base_url="http://127.0.0.1:9095")

    return browsing


def text_of(html: str, tenant: str) -> str:
    """What a page says, but for the tenant that was asked for."""
    return re.sub(r"<[^>]*>", " ", html.replace(tenant, "TENANT")).strip()


def test_forbidden_and_unknown_tenants_look_the_same_on_every_page(browse: Browse) -> None:
    """Two pages are forms, which ask the server nothing until they are sent."""
    query = "p=user:bob&a=VIEW&k=FLOW&ns=acme.finance&c=a&o=b&r=SUBFLOW&old=" + "0" * 64
    with browse(READER) as browser:
        for page in PAGES:
            if not page.of_tenant:
                continue
            pages = []
            for tenant in ("globex", "nobody"):
                path = page.path.format(tenant=tenant, id="01a20ab6-2458-7f26-90da-4fb3fbb0d492")
                answer = browser.get(f"{path}?{query}")
                pages.append((answer.status_code, text_of(answer.text, tenant)))

            assert pages[0] == pages[1], page.name
            assert (404, True) == (pages[0][0], NOT_FOUND in pages[0][1]) or page.name in {"pin", "graph"}, page.name


def test_empty_forms_of_forbidden_and_unknown_tenants_look_the_same(browse: Browse) -> None:
    for name in (ENFORCER, READER, AUDITOR):
        with browse(name) as browser:
            for page in PAGES:
                if page.of_tenant:
                    path = page.path.replace("{id}", "01a20ab6-2458-7f26-90da-4fb3fbb0d492")
                    forbidden, unknown = (browser.get(path.format(tenant=tenant)) for tenant in ("globex", "nobody"))
                    assert forbidden.status_code == unknown.status_code, page.name
                    assert text_of(forbidden.text, "globex") == text_of(unknown.text, "nobody"), page.name


def test_page_names_what_it_does_not_show_and_the_right_for_it(browse: Browse) -> None:
    with browse(READER) as browser:
        html = browser.get("/t/acme").text
        overview = browser.get("/").text

    assert "Decisions of the last day, and events: not shown, you need the right AUDIT" in html
    assert "acme" in overview
    assert "globex" not in overview
    assert "not shown, you need the right STATUS across tenants" in overview


def test_right_to_nothing_but_checks_shows_no_tenant(browse: Browse) -> None:
    with browse(ENFORCER) as browser:
        assert 404 == browser.get("/").status_code
        assert 404 == browser.get("/t/acme").status_code
        assert 404 == browser.get("/t/acme/explain?p=user:bob&a=VIEW&k=FLOW&ns=acme.finance").status_code
        assert 200 == browser.get("/t/acme/where?p=user:bob").status_code


def test_revoked_right_ends_what_somebody_watches(
    browse: Browse, callers: Path, server: Server, authority: Authority
) -> None:
    with browse(AUDITOR) as browser:
        assert 200 == browser.get("/t/acme/live").status_code
        granted = callers.read_text()
        callers.write_text(granted.replace(f"g, service:dns/{AUDITOR}, role:auditor, _callers/acme\n", ""))
        try:
            until(lambda: browser.get("/t/acme/live").status_code == 404, "the right is gone")
            assert NOT_FOUND in browser.get("/t/acme/live").text
        finally:
            callers.write_text(granted)
        until(lambda: browser.get("/t/acme/live").status_code == 200, "the right is back")


def test_reads_of_the_console_are_recorded_as_those_of_its_caller(
    browse: Browse, server: Server, authority: Authority
) -> None:
    with browse(AUDITOR) as browser:
        assert 200 == browser.get("/t/acme/decisions").status_code
    tls = authority.caller(authority.signed(AUDITOR, AUDITOR))
    with Client(server.target, timeout_s=DEADLINE_S, tls=tls) as client:
        reads = [each.detail for each in client.list_lifecycle("acme", type="AUDIT_READ")]

    assert any(f"service:dns/{AUDITOR}" in each for each in reads)
