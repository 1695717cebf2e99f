"""The console against a real server of the example company, without a browser."""

import csv
import io
import json
import re
import shlex
from collections.abc import Iterator
from html import unescape as html_text
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import httpx
import pytest
from starlette.testclient import TestClient
from support.console import ASKED, GRAPHS, ConsoleProcess, example_paths, example_server
from support.server import ROOT, Server, remit_process, until

from remit.client import Asked, AsyncClient, Client, RecordFilter
from remit.console.app import NOT_FOUND, application
from remit.console.cells import ROWS_SHOWN
from remit.console.options import ConsoleOptions
from remit.console.pages import PAGES
from remit.drawing.graph_svg import NODES_LIMIT
from remit.v1.status_service_pb2 import TENANT_STATE_PINNED, TENANT_STATE_SERVING

NOT_RUN: Final = {"pin", "live", "tests"}
"""Pages whose command changes something, has no end, or reads files."""
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
    console = ConsoleOptions(lambda: AsyncClient(server.target, timeout_s=30), server.target, graphs=GRAPHS)
    with TestClient(application(console), base_url=BASE, follow_redirects=False) as browser:
        yield browser


def table(browser: TestClient, path: str, name: str) -> list[dict[str, str]]:
    """The rows of a page's table, as its CSV has them."""
    answer = browser.get(path, params={**dict(_query(path)), "csv": name})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/csv; charset=utf-8"), answer.text
    return [*csv.DictReader(io.StringIO(answer.text))]


def _query(path: str) -> list[tuple[str, str]]:
    return parse_qsl(path.partition("?")[2])


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_is_made_anew_and_stored_by_no_browser(
    browser: TestClient, paths: dict[str, list[str]], page: Any
) -> None:
    for path in paths[page.name]:
        answer = browser.get(path, headers={"if-none-match": "*"})

        assert answer.status_code in {200, 400}
        assert answer.headers["cache-control"] == "no-store"
        assert "etag" not in answer.headers


def test_page_that_is_opened_again_leaves_its_records_again(browser: TestClient, client: Client) -> None:
    def records() -> int:
        return len([*client.list_records(RecordFilter(tenant="acme", principal="user:opened-twice"))])

    for expected in (1, 2):
        browser.get("/t/acme/where?p=user:opened-twice")
        assert expected == records()


def test_scripts_and_styles_are_stored_and_named_by_their_content(browser: TestClient) -> None:
    named = set(re.findall(r'"((?:\.\./)*static/[^"]*)"', browser.get("/t/acme/live").text))

    assert {"style.css", "page.js", "feed.js", "icon.svg"} == {each.rpartition("/")[2] for each in named}
    for each in named:
        answer = browser.get(f"/t/acme/{each}")
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert 404 == browser.get("/static/style.css").status_code


def _names_of_tables(html: str) -> list[str]:
    return [part.partition('"')[0] for part in html.split("csv=")[1:]]


@pytest.mark.parametrize("page", [each for each in PAGES if each.name != "reach"], ids=lambda page: page.name)
def test_command_of_a_page_runs(browser: TestClient, paths: dict[str, list[str]], page: Any, server: Server) -> None:
    html = next(html for path in paths[page.name] if 'data-copy="remit ' in (html := browser.get(path).text))
    command = html.rpartition('data-copy="remit ')[2].partition('"')[0]

    words = shlex.split(html_text(command))
    if page.name in NOT_RUN:
        words = [*words[: 2 if words[0] == "audit" else 1], "--help"]
    done = remit_process(*words)
    assert done.returncode in {0, 1, *([3] if page.name == "shadow" else [])}, done.stderr


def test_overview_shows_every_tenant(browser: TestClient, client: Client) -> None:
    shown = {each["tenant"]: each["state"] for each in table(browser, "/", "tenants")}

    assert shown == dict.fromkeys((each.tenant for each in client.status().tenants), "SERVING")


def test_who_shows_every_principal_of_the_answer(browser: TestClient, client: Client) -> None:
    found = [each.principal for each in client.tenant("acme").list_principals("UPDATE", "FLOW", "acme.finance")]

    path = "/t/acme/who?a=UPDATE&k=FLOW&ns=acme.finance"
    assert found == [each["principal"] for each in table(browser, path, "principals")]
    html = browser.get(path).text
    assert all(each in html for each in found)


def test_where_and_what_show_the_whole_answer(browser: TestClient, client: Client) -> None:
    actions = {
        (kind.kind, action)
        for kind in client.tenant("acme").list_actions("user:bob", "acme.finance").kinds
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
    def totals() -> dict[str, int]:
        return {
            name: sum(int(each["denials"]) for each in table(browser, "/t/acme/denials", name))
            for name in ("hours", "reasons", "callers")
        }

    client.tenant("acme").check(*ASKED)
    before = totals()
    client.tenant("acme").explain(*ASKED)
    assert {**before, "callers": before["callers"] + 1} == totals()
    client.tenant("acme").check(*ASKED)
    assert {name: total + 1 for name, total in before.items()} == {**totals(), "callers": totals()["callers"] - 1}
    html = browser.get("/t/acme/denials").text
    for each in ("principals", "callers"):
        assert f"Explanations count here too: the server does not count {each} by question." in html


def test_unknown_tenant_and_unknown_page_have_one_text(browser: TestClient) -> None:
    for path in ("/nope", "/t/nobody", "/t/nobody/where?p=user:bob", "/t/nobody/explain?p=user:a&a=B&k=C", "/t/a%20b"):
        answer = browser.get(path)
        assert (answer.status_code, NOT_FOUND in answer.text) == (404, True), path


def test_console_starts_by_its_command_and_stops_at_a_signal(server: Server) -> None:
    with ConsoleProcess(server) as console:
        assert console.url.startswith("http://127.0.0.1:")


def test_console_that_is_opened_once_prints_its_key(server: Server) -> None:
    with ConsoleProcess(server, "--once") as console, httpx.Client(follow_redirects=True) as first:
        root = console.url.partition("enter")[0]
        assert httpx.get(root).status_code == 401
        assert "Overview" in first.get(console.url).text
        assert first.get(root).status_code == 200
        assert httpx.get(console.url).status_code == 401


def test_server_that_is_away_is_an_error_page() -> None:
    console = ConsoleOptions(lambda: AsyncClient("127.0.0.1:1", timeout_s=0.2), "127.0.0.1:1")
    with TestClient(application(console), base_url=BASE) as browser:
        answer = browser.get("/")

    assert (answer.status_code, "UNAVAILABLE" in answer.text) == (503, True)


OWN: Final = {"sec-fetch-site": "same-origin"}


def test_matrix_says_what_check_says_in_one_record(browser: TestClient, client: Client) -> None:
    path = "/t/acme/matrix?k=FLOW&ns=acme.finance"
    before = len([*client.list_records(RecordFilter(tenant="acme", question="MATRIX"))])
    shown = table(browser, path, "matrix")

    assert before + 1 == len([*client.list_records(RecordFilter(tenant="acme", question="MATRIX"))])
    answers = {"": False, "DENY": False, "allow": True}
    for row in shown:
        name, *cells = row.values()
        columns = [column.split() for column in [*row][1:]]
        asked = [Asked(name, action, kind, "acme.finance") for kind, action in columns]
        assert [answers[each] for each in cells] == [bool(each) for each in client.tenant("acme").batch_check(asked)]
    differing = table(browser, f"{path}&differ=only+those+that+differ", "matrix")
    assert all(len({row[column] for row in differing}) > 1 for column in [*differing[0]][1:])


def test_matrix_of_too_many_columns_says_so_in_its_form(browser: TestClient) -> None:
    answer = browser.get("/t/acme/matrix?k=FLOW+EXECUTION+TRIGGER+APP+NAMESPACE+KVSTORE+CASE&ns=acme.finance")

    assert answer.status_code == 400
    assert "60" in answer.text


def test_matrix_without_columns_says_what_to_choose_first(browser: TestClient) -> None:
    html = browser.get("/t/acme/matrix").text

    assert "Choose a kind first" in html
    assert "data-copy" not in html


@pytest.mark.parametrize(
    ("page", "name", "words", "word"),
    [
        ("explain", "k", "kinds", "FLOW"),
        ("explain-reach", "r", "relations", "SUBFLOW"),
        ("matrix", "a", "actions", "UPDATE"),
        ("who", "k", "kinds", "FLOW"),
    ],
)
def test_inputs_suggest_the_words_of_the_vocabulary(
    browser: TestClient, page: str, name: str, words: str, word: str
) -> None:
    text = browser.get(f"/t/acme/{page}").text

    (field,) = re.findall(rf'<input[^>]* name="{name}"[^>]*>', text)
    assert f'list="words-{words}"' in field
    (known,) = re.findall(rf'<datalist id="words-{words}">(.*?)</datalist>', text)
    assert f'<option value="{word}">' in known


def test_names_of_the_policy_are_all_there(browser: TestClient, client: Client) -> None:
    for what in ("namespace", "pattern", "group", "role", "principal"):
        names = [each.name for each in client.tenant("acme").list_names(what)]
        assert names == [each[what] for each in table(browser, f"/t/acme/names?what={what}", "names")]


def test_principal_holds_its_own_rows_first(browser: TestClient) -> None:
    path = "/t/acme/principal?p=user:bob"

    assert ["group:finance-devs"] == [each["holds"] for each in table(browser, path, "direct")]
    assert "role:developer" in {each["holds"] for each in table(browser, path, "inherited")}
    assert all(each["effect"] == "DENY" for each in table(browser, path, "denials"))


def test_source_has_the_lines_of_the_file(browser: TestClient) -> None:
    path = "/t/acme/source?file=acme/bindings.csv&line=91"
    text = (ROOT / "policies/acme/bindings.csv").read_text().splitlines()

    assert text == [each["text"].removeprefix("'") for each in table(browser, f"{path}&from=1", "lines")]
    assert 'id="L91" class="chosen"' in browser.get(path).text


def test_tests_say_which_row_no_case_exercises(browser: TestClient) -> None:
    assert {"holds"} == {each["result"] for each in table(browser, "/t/acme/tests", "cases")}
    coverage = table(browser, "/t/acme/tests", "coverage")
    missed = table(browser, "/t/acme/tests", "missed")
    assert sum(int(each["missed"]) for each in coverage) == len(missed)
    html = browser.get("/t/acme/source?file=acme/bindings.csv&coverage=rows").text
    lines = {each["at"].rpartition(":")[2] for each in missed if each["at"].startswith("acme/bindings.csv")}
    assert lines == set(re.findall('id="L([0-9]+)" class="missed"', html))
    assert html.count("no case</strong>") == len(lines)


def test_reach_map_says_what_check_reach_says(browser: TestClient, client: Client) -> None:
    shown = table(browser, "/t/acme/reach?r=SUBFLOW&ns=acme.f", "map")

    for row in shown:
        caller, *cells = row.values()
        for owner, cell in zip([*row][1:], cells, strict=True):
            if owner != caller:
                assert (cell == "allow") == bool(client.tenant("acme").check_reach(caller, owner, "SUBFLOW")), (
                    caller,
                    owner,
                )


def test_graph_is_drawn_from_a_file_and_from_what_is_pasted(browser: TestClient) -> None:
    of_file = browser.get("/t/acme/graph?p=user:carol&file=close.json").text
    text = (GRAPHS / "close.json").read_text()
    pasted = browser.post("/t/acme/graph", data={"p": "user:carol", "graph": text}, headers=OWN).text

    for html in (of_file, pasted):
        assert "<svg" in html
        assert "style=" not in html
        assert "SUBFLOW (DENIED_BY_RULE)" in html
    for wrong in ('{"nodes": 1}', "graph {", '{"nodes": []}{', "../policies/README.md"):
        answer = browser.post("/t/acme/graph", data={"p": "user:carol", "graph": wrong}, headers=OWN)
        assert answer.status_code == 400, wrong
    assert browser.get("/t/acme/graph?p=user:carol&file=../../policies/README.md").status_code == 400


def test_graph_is_a_tree_in_the_order_of_the_command_line(browser: TestClient, server: Server) -> None:
    file = str(GRAPHS / "close.json")
    done = remit_process("graph", "acme", "user:carol", file, "--target", server.target)
    html = browser.get("/t/acme/graph?p=user:carol&file=close.json").text
    items = re.findall("<li>(.*?)(?:<details|</li>)", html.partition('<ul class="tree">')[2], re.DOTALL)
    words = [" ".join(re.sub("<[^>]+>", "", each).split()) for each in items]

    assert words == [" ".join(line.strip("│├└─ ").split()) for line in done.stdout.splitlines()[:-1]]
    assert sum("FORBIDDEN" in each for each in words) == 1


def test_graph_too_large_for_a_picture_is_a_tree_and_a_table_of_the_first_rows(browser: TestClient) -> None:
    nodes = [{"uid": f"n{at}", "kind": "FLOW", "namespace": "acme.finance"} for at in range(NODES_LIMIT + 1)]
    text = json.dumps({"nodes": nodes, "edges": []})
    html = browser.post("/t/acme/graph", data={"p": "user:alice", "graph": text}, headers=OWN).text

    assert "no picture: 501 nodes and 0 edges are too many: at most 500 nodes and 1,000 edges are drawn" in html
    assert "<svg" not in html
    assert html.partition('<ul class="tree">')[2].count("<li>") == ROWS_SHOWN
    assert "1 further branches are left out" in html
    assert "1 further rows are left out." in html
    assert "csv=" not in html


def test_csv_that_would_be_too_large_is_refused_with_its_size(
    browser: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "/t/acme/matrix?k=FLOW&ns=acme.finance"
    size = rf"the matrix has {len(table(browser, path, 'matrix'))} rows and \d+ columns: at most 9 cells are written"
    monkeypatch.setattr("remit.console.visit.MOST_CELLS", 9)
    answer = browser.get(f"{path}&csv=matrix")
    assert (400, 1) == (answer.status_code, len(re.findall(size, answer.text)))
    monkeypatch.setattr("remit.console.visit.MOST_ROWS", 3)
    for path in ("names?what=principal", "source?file=acme/bindings.csv", "who?a=VIEW&k=FLOW&ns=acme.finance"):
        answer = browser.get(f"/t/acme/{path}&csv=any")
        assert (400, True) == (answer.status_code, "rows: at most 3 are written" in answer.text), path


def test_pin_needs_the_tenant_s_name_and_a_page_of_the_console(browser: TestClient, client: Client) -> None:
    (serving,) = [each.revision for each in client.status("acme").tenants]
    path = f"/t/acme/pin?rev={serving}"

    def state() -> int:
        return client.status("acme").tenants[0].state

    form = {"rev": serving, "tenant": "acme"}
    assert 403 == browser.post(path, data=form, headers={"sec-fetch-site": "cross-site"}).status_code
    assert 400 == browser.post(path, data={"rev": serving, "tenant": "globex"}, headers=OWN).status_code
    assert TENANT_STATE_SERVING == state()
    done = browser.post(path, data=form, headers=OWN)
    assert (303, "../../t/acme/revisions") == (done.status_code, done.headers["location"])
    assert TENANT_STATE_PINNED == state()
    assert "Pinned by" in browser.get("/t/acme/revisions").text
    assert 303 == browser.post("/t/acme/pin", data={"rev": "", "tenant": "acme"}, headers=OWN).status_code
    assert TENANT_STATE_SERVING == state()


def test_live_page_shows_decisions_by_one_stream(browser: TestClient, client: Client) -> None:
    def shown() -> list[str]:
        return [each["principal"] for each in table(browser, "/t/acme/live", "records")]

    shown()
    client.tenant("acme").check("user:just-now", "VIEW", "FLOW", "acme.finance")
    until(lambda: shown()[:1] == ["user:just-now"], "the newest decision")
    for _ in range(100):
        shown()
    assert 1 == len(browser.app.app.state.feed._followers)
    assert not browser.app.app.state.feed._followers["acme"].task.done()


def test_callers_of_a_tenant_are_those_of_the_callers_folder(browser: TestClient) -> None:
    shown = table(browser, "/callers?of=acme", "rights")

    assert "AUDIT" in shown[0]
    assert {"user:irene"} <= {each["caller"] for each in table(browser, "/callers?of=all+tenants+at+once", "rights")}


HOSTILE: Final = ["<script>alert(1)</script>", '"><svg/onload=alert(1)>', "\u202eevil", "=1+1", "{{7*7}}"]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_ids_are_shown_and_do_nothing(browser: TestClient, client: Client, text: str) -> None:
    asked = client.tenant("acme").check(
        "user:eve", "VIEW", "FLOW", "acme.finance", resource_id=text if text.isprintable() else "x"
    )
    for path in (
        f"/t/acme/decisions/{asked.decision_id}",
        "/t/acme/decisions?p=user:eve",
        f"/t/acme/explain?{urlencode({'p': text, 'a': text, 'k': text, 'ns': text})}",
        f"/t/acme/names?{urlencode({'q': text})}",
        f"/t/acme/principal?{urlencode({'p': text})}",
    ):
        html = browser.get(path).text
        assert "<script>alert" not in html
        assert "<svg/onload" not in html
        assert "\u202e" not in re.sub("<[^>]*>", "", html)
        assert "49" not in html if text == "{{7*7}}" and "explain" in path else True
    rows = table(browser, "/t/acme/decisions?p=user:eve", "records")
    assert not any(each["id"].startswith("=") for each in rows)
