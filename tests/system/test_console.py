"""The console against a real server of the example company, without a browser."""

import csv
import io
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient
from support.console import ASKED, ConsoleProcess, example_paths, example_server
from support.server import Server, remit_process

from remit.client import AsyncClient, Client
from remit.console.app import NOT_FOUND, Console, application
from remit.console.pages import PAGES

BASE = "http://127.0.0.1:9095"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with example_server(tmp_path_factory.mktemp("console")) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def paths(client: Client) -> dict[str, list[str]]:
    return example_paths(client)


@pytest.fixture(scope="module")
def browser(server: Server) -> Iterator[TestClient]:
    console = Console(lambda: AsyncClient(server.target, timeout_s=30), server.target)
    with TestClient(application(console), base_url=BASE, follow_redirects=False) as browser:
        yield browser


def table(browser: TestClient, path: str, name: str) -> list[dict[str, str]]:
    """The rows of a page's table, as its CSV has them."""
    answer = browser.get(path, params={**dict(_query(path)), "csv": name})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/csv; charset=utf-8"), answer.text
    return [*csv.DictReader(io.StringIO(answer.text))]


def _query(path: str) -> list[tuple[str, str]]:
    return [tuple(each.split("=", 1)) for each in path.partition("?")[2].split("&") if each]  # type: ignore[misc]


def test_every_page_is_among_the_example_paths(paths: dict[str, list[str]]) -> None:
    assert {page.name for page in PAGES} == paths.keys()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_and_each_of_its_tables_answer(browser: TestClient, paths: dict[str, list[str]], page: Any) -> None:
    for path in paths[page.name]:
        answer = browser.get(path)
        assert answer.status_code in {200, 400}
        assert answer.text.count("<h1>") == 1
        for name in set(_names_of_tables(answer.text)):
            assert table(browser, path, name), (path, name)


def _names_of_tables(html: str) -> list[str]:
    return [part.partition('"')[0] for part in html.split("csv=")[1:]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_command_of_a_page_runs(browser: TestClient, paths: dict[str, list[str]], page: Any, server: Server) -> None:
    html = next(html for path in paths[page.name] if 'data-copy="remit ' in (html := browser.get(path).text))
    command = html.rpartition('data-copy="remit ')[2].partition('"')[0]

    if "audit" in command.split()[0]:
        command = command.replace(f"--target {server.target}", f"--target {server.target} --audit {server.audit}")
    done = remit_process(*command.split())
    assert done.returncode in {0, 1}, done.stderr


def test_overview_shows_every_tenant(browser: TestClient, client: Client) -> None:
    shown = {each["tenant"]: each["state"] for each in table(browser, "/", "tenants")}

    assert shown == dict.fromkeys((each.tenant for each in client.status().tenants), "SERVING")


def test_who_shows_every_principal_of_the_answer(browser: TestClient, client: Client) -> None:
    found = [each.principal for each in client.list_principals("acme", "UPDATE", "FLOW", "acme.finance")]

    path = "/t/acme/who?a=UPDATE&k=FLOW&ns=acme.finance"
    assert found == [each["principal"] for each in table(browser, path, "principals")]
    html = browser.get(path).text
    assert all(each in html for each in found)


def test_where_and_what_show_the_whole_answer(browser: TestClient, client: Client) -> None:
    actions = {
        (kind.kind, action)
        for kind in client.list_actions("acme", "user:bob", "acme.finance").kinds
        for action in kind.actions
    }
    shown = table(browser, "/t/acme/what?p=user:bob&ns=acme.finance", "actions")

    assert actions == {(each["kind"], each["action"]) for each in shown}
    assert [{"namespaces": "acme.finance.** except acme.finance.ledger.**"}] == table(
        browser, "/t/acme/where?p=user:bob&a=UPDATE&k=FLOW", "namespaces"
    )


def test_explanation_names_the_rule_its_place_and_what_would_allow(browser: TestClient) -> None:
    html = browser.get("/t/acme/explain?p=user:zed&a=VIEW&k=FLOW&ns=acme.finance").text

    assert "NO_BINDING" in html
    assert "p, user:zed, acme, acme.finance, FLOW, VIEW, allow" in html
    denied = "/t/acme/explain?p=user:grace&a=RESTART&k=EXECUTION&ns=acme.finance.payroll"
    steps = table(browser, denied, "steps")
    assert ["held by", "decided by"] == [each["step"] for each in steps]
    assert steps[-1]["effect"] == "DENY"
    assert steps[-1]["at"].startswith("acme/bindings.csv:")


def test_explanation_of_the_past_is_by_the_revision_of_then(browser: TestClient) -> None:
    asked = "p=user:grace&a=RESTART&k=EXECUTION&ns=acme.finance.payroll"
    html = browser.get(f"/t/acme/explain?{asked}&at=0s").text

    assert "served on node-1 since" in html
    before = browser.get(f"/t/acme/explain?{asked}&at=2020-01-01")
    assert (before.status_code, "no node served" in before.text.lower()) == (404, True)


def test_wrong_input_stays_in_the_form_and_says_what_was_expected(browser: TestClient) -> None:
    answer = browser.get("/t/acme/explain?p=bob&a=VIEW&k=FLOW&ns=acme.finance")

    assert answer.status_code == 400
    assert 'value="bob"' in answer.text
    assert "did you mean `user:bob`" in answer.text
    late = browser.get("/t/acme/decisions?since=yesterday")
    assert (late.status_code, "expected a time in UTC" in late.text) == (400, True)


def test_decisions_are_filtered_and_each_has_a_page(browser: TestClient, paths: dict[str, list[str]]) -> None:
    path = f"/t/acme/decisions?effect=deny&p={ASKED[0]}&ns={ASKED[3]}"
    shown = table(browser, path, "records")

    assert {(*ASKED, "DENY")} == {
        (each["principal"], each["action"], each["kind"], each["namespace"], each["effect"]) for each in shown
    }
    html = browser.get(paths["record"][0]).text
    assert "The files of that revision give the recorded answer." in html
    assert "in the chain of this tenant and node" in html
    elsewhere = browser.get(paths["record"][0].replace("/acme/", "/globex/"))
    assert (elsewhere.status_code, NOT_FOUND in elsewhere.text) == (404, True)


def test_denials_leave_out_what_people_ask_to_explain(browser: TestClient, client: Client) -> None:
    def total() -> int:
        return sum(int(each["denials"]) for each in table(browser, "/t/acme/denials", "hours"))

    before = total()
    client.explain("acme", *ASKED)
    assert before == total()
    client.check("acme", *ASKED)
    assert before + 1 == total()


def test_unknown_tenant_and_unknown_page_have_one_text(browser: TestClient) -> None:
    for path in ("/nope", "/t/nobody", "/t/nobody/where?p=user:bob", "/t/nobody/explain?p=user:a&a=B&k=C", "/t/a%20b"):
        answer = browser.get(path)
        assert (answer.status_code, NOT_FOUND in answer.text) == (404, True), path


def test_console_starts_by_its_command_and_stops_at_a_signal(server: Server) -> None:
    with ConsoleProcess(server) as console:
        assert console.url.startswith("http://127.0.0.1:")


def test_console_refuses_an_address_that_others_reach(server: Server) -> None:
    refused = remit_process("console", "--listen", "0.0.0.0:0", "--target", server.target)

    assert (refused.returncode, "nobody logs in there" in refused.stderr) == (2, True)


def test_server_that_is_away_is_an_error_page() -> None:
    console = Console(lambda: AsyncClient("127.0.0.1:1", timeout_s=0.2), "127.0.0.1:1")
    with TestClient(application(console), base_url=BASE) as browser:
        answer = browser.get("/")

    assert (answer.status_code, "UNAVAILABLE" in answer.text) == (503, True)
