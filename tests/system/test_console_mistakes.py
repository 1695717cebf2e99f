"""The console for people who make mistakes, and the ways from one of its pages to the next."""

import csv
import io
import json
import re
import shutil
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme
from starlette.testclient import TestClient
from support.certificates import Authority
from support.console import GRAPHS
from support.server import DEADLINE_S, POLICIES, Server, until

from remit.client import AsyncClient, Client, DecisionUnavailable, RuntimeBinding
from remit.console.app import NOT_FOUND, application
from remit.console.options import ConsoleOptions
from remit.v1.status_service_pb2 import TENANT_STATE_STALE

BASE: Final = "http://127.0.0.1:9095"
ADDED: Final = "g, user:zoe, role:viewer, acme/acme.legal.**"
UNKNOWN: Final = "The server serves no tenant of this name."


class World(NamedTuple):
    browser: TestClient
    client: Client
    policies: Path
    before: str
    """The revision before an edit gave somebody a role."""
    serving: str


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("mistakes")
    policies = Path(shutil.copytree(POLICIES, folder / "policies", ignore=shutil.ignore_patterns("_callers")))
    with (
        Server(folder / "server", "--revisions", str(folder / "revisions"), policies=policies) as server,
        server.client() as client,
    ):
        (before,) = [each.revision for each in client.status("acme").tenants]
        bindings = policies / "acme" / "bindings.csv"
        bindings.write_text(f"{bindings.read_text()}{ADDED}\n")
        until(lambda: client.status("acme").tenants[0].revision != before, "the edit serves")
        (serving,) = [each.revision for each in client.status("acme").tenants]
        console = ConsoleOptions(lambda: AsyncClient(server.target, timeout_s=DEADLINE_S), server.target, graphs=GRAPHS)
        with TestClient(application(console), base_url=BASE, follow_redirects=False) as browser:
            yield World(browser, client, policies, before, serving)


def text_of(html: str) -> str:
    """The words of a page's content."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html.partition("<main")[2])).split())


def links_of(html: str) -> list[str]:
    return [unescape(each) for each in re.findall(r'href="([^"]*)"', html.partition("<main")[2])]


def rows_of(browser: TestClient, path: str, name: str) -> list[dict[str, str]]:
    answer = browser.get(f"{path}{'&' if '?' in path else '?'}csv={name}")
    assert answer.status_code == 200, answer.text
    return [*csv.DictReader(io.StringIO(answer.text))]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("explain?p=user:bob&a=UPDATE&k=&ns=", "is missing: for example FLOW"),
        ("explain-reach?c=acme.data&o=acme.finance&r=", "is missing: for example SUBFLOW"),
        ("who?a=&k=FLOW", "is missing: for example UPDATE"),
        ("where?p=&a=UPDATE&k=FLOW", "is missing: for example user:bob"),
        ("what?p=&ns=acme.finance", "is missing: for example user:bob"),
        ("principal?p=", "is missing: for example user:bob"),
        ("namespace?ns=", "is missing: for example acme.finance"),
        ("graph?p=user:carol&file=", "is missing: choose one, or paste a graph below"),
        ("reach?r=&ns=acme", "expected one of SUBFLOW, "),
        ("diff?old=abc&new=", "expected 8 to 64 lower-case hexadecimal digits"),
        ("tests?rev=abc", "expected 8 to 64 lower-case hexadecimal digits"),
        ("tests?rev=aaaaaaaaaaaa", "no revision of tenant"),
        ("decisions?since=1h&until=2h", "expected a time after Since"),
        ("explain?p=user:bob&a=VIEW&k=FLOW&at=1m&rev=aaaaaaaa", "expected no revision beside a time"),
    ],
)
def test_mistake_is_told_beside_its_input(world: World, path: str, expected: str) -> None:
    answer = world.browser.get(f"/t/acme/{path}")

    (error,) = re.findall(r'<span class="error"[^>]*>(.*?)</span>', answer.text)
    assert (400, True) == (answer.status_code, error.startswith(expected)), error
    assert answer.text.count("aria-invalid") == 1
    assert "data-copy" not in answer.text


@pytest.mark.parametrize("path", ["explain?p=user:bob", "who?ns=acme.finance", "principal", "graph", "reach", "diff"])
def test_form_that_nobody_sent_has_no_mistake(world: World, path: str) -> None:
    answer = world.browser.get(f"/t/acme/{path}")

    assert (200, False) == (answer.status_code, "aria-invalid" in answer.text)


@pytest.mark.parametrize(
    "path", ["/callers?of=nobody", "/t/acme/decisions?effect=DENY", "/t/acme/decisions?reason=NONE"]
)
def test_choice_that_is_unknown_stays_in_the_form_with_what_was_expected(world: World, path: str) -> None:
    answer = world.browser.get(path)

    word = path.rpartition("=")[2]
    assert 400 == answer.status_code
    assert f'<option value="{word}" selected>' in answer.text
    assert 'class="error"' in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "explain?p=user:bob&a=VIEW&k=FLOW&ns=acme.finance",
        "explain-reach?c=acme.data&o=acme.finance&r=SUBFLOW",
        "who?a=UPDATE&k=FLOW&ns=acme.finance",
        "where?p=user:bob",
        "what?p=user:bob&ns=acme.finance",
        "principal?p=user:bob",
        "namespace?ns=acme.finance",
        "matrix?k=FLOW&ns=acme.finance",
        "reach?r=SUBFLOW&ns=acme.f",
        "names?what=role",
    ],
)
def test_question_to_a_revision_that_does_not_serve_names_the_one_that_does(world: World, path: str) -> None:
    wrong = world.browser.get(f"/t/acme/{path}&rev={world.before}")
    right = world.browser.get(f"/t/acme/{path}&rev={world.serving[:12]}")

    assert 400 == wrong.status_code
    assert f"expected the revision that serves: {world.serving[:12]}" in wrong.text
    assert 200 == right.status_code


@pytest.mark.parametrize("path", ["source?rev=", "source?file=acme/bindings.csv&rev="])
def test_revision_that_is_not_stored_is_told_with_those_that_are(world: World, path: str) -> None:
    answer = world.browser.get(f"/t/acme/{path}aaaaaaaaaaaa")

    assert 404 == answer.status_code
    assert all(each[:12] in text_of(answer.text) for each in (world.before, world.serving))
    assert NOT_FOUND in world.browser.get(f"/t/nobody/{path}aaaaaaaaaaaa").text


def test_decisions_are_found_by_the_first_digits_of_their_revision(world: World) -> None:
    world.client.tenant("acme").check("user:bob", "VIEW", "FLOW", "acme.finance")
    html = world.browser.get(f"/t/acme/decisions?rev={world.serving[:12]}&question=CHECK")

    assert (200, False) == (html.status_code, "No such decision" in html.text)
    assert "No such decision" in world.browser.get(f"/t/acme/decisions?rev={world.before[:12]}&question=MATRIX").text


def test_line_behind_the_end_shows_the_end(world: World) -> None:
    answer = world.browser.get("/t/acme/source?file=acme/bindings.csv&line=9999")

    assert "There is no line 9999" in answer.text
    assert ADDED in text_of(answer.text)


def test_bad_request_of_the_server_is_no_missing_answer(world: World) -> None:
    answer = world.browser.get("/t/acme/source?rev=abc")

    assert (400, "This cannot be asked") == (answer.status_code, re.findall("<h1>(.*?)</h1>", answer.text)[0])


@pytest.mark.parametrize("page", ["decisions", "denials", "live", "principal", "namespace", "graph"])
def test_misspelt_tenant_is_told_where_records_may_be_older_than_its_end(world: World, page: str) -> None:
    assert UNKNOWN in text_of(world.browser.get(f"/t/acmee/{page}").text)
    assert UNKNOWN not in text_of(world.browser.get(f"/t/acme/{page}").text)


@pytest.mark.parametrize("page", ["explain", "who", "where", "what", "matrix", "explain-reach", "diff", "pin", "tests"])
def test_misspelt_tenant_has_no_form_to_fill_in(world: World, page: str) -> None:
    assert 404 == world.browser.get(f"/t/acmee/{page}").status_code


def test_only_a_stored_revision_is_pinned_and_only_a_pinned_tenant_unpinned(world: World) -> None:
    for path, expected in (("pin?rev=abc", "no revision abc on its disk"), ("pin", "acme is not pinned")):
        html = world.browser.get(f"/t/acme/{path}").text
        assert expected in text_of(html)
        assert 'name="tenant"' not in html
    assert f"serves {world.before}" in text_of(world.browser.get(f"/t/acme/pin?rev={world.before[:12]}").text)


def test_state_that_is_not_serving_is_told_in_words(world: World) -> None:
    bindings = world.policies / "globex" / "bindings.csv"
    good = bindings.read_text()
    bindings.write_text(f"{good}p, oops\n")
    try:
        until(lambda: world.client.status("globex").tenants[0].state == TENANT_STATE_STALE, "the mistake is noticed")
        assert "The newest files do not load: an older revision serves." in world.browser.get("/t/globex").text
    finally:
        bindings.write_text(good)
    assert "do not load" not in world.browser.get("/t/acme").text


def test_pages_about_the_serving_revision_keep_it_in_their_links(world: World) -> None:
    for path, kept in (
        ("who?a=UPDATE&k=FLOW&ns=acme.finance", {"principal", "explain", "source"}),
        ("what?p=user:bob&ns=acme.finance", {"explain"}),
        ("principal?p=user:bob", {"what", "where", "explain", "matrix", "source"}),
        ("namespace?ns=acme.finance", {"who", "matrix", "reach", "names"}),
        ("reach?r=SUBFLOW&ns=acme.f", {"namespace", "explain-reach"}),
        ("names?what=namespace", {"namespace"}),
        ("names?what=principal", {"principal"}),
        ("names?what=role", {"matrix"}),
        ("matrix?k=FLOW&ns=acme.finance", {"principal", "explain"}),
        ("matrix?who=role:viewer&ns=acme.finance", {"matrix"}),
        ("tests?cases=all", {"source"}),
    ):
        html = world.browser.get(f"/t/acme/{path}&rev={world.serving}").text
        found = [urlsplit(each) for each in links_of(html)]
        for page in kept:
            links = [each for each in found if each.path.endswith(f"/t/acme/{page}")]
            assert links, (path, page)
            assert {world.serving} == {parse_qs(each.query).get("rev", [""])[0] for each in links}, (path, page)


def test_files_of_a_revision_lead_to_its_tests_its_difference_and_its_decisions(world: World) -> None:
    links = links_of(world.browser.get(f"/t/acme/source?rev={world.before}").text)

    for page, name in (("tests", "rev"), ("diff", "old"), ("decisions", "rev"), ("pin", "rev")):
        assert f"../../t/acme/{page}?{name}={world.before}" in links
        assert 200 == world.browser.get(f"/t/acme/{page}?{name}={world.before}").status_code


def test_revisions_lead_to_what_an_edit_changed(world: World) -> None:
    html = world.browser.get("/t/acme/revisions").text
    newest, oldest = rows_of(world.browser, "/t/acme/revisions", "kept")

    assert ("compare", "") == (newest["what it changed"], oldest["what it changed"])
    path = f"/t/acme/diff?old={world.before}&new={world.serving}"
    assert f"../..{path}" in links_of(html)
    shown = world.browser.get(path).text
    assert {"user:zoe"} == {each["who"] for each in rows_of(world.browser, path, "gains")}
    assert "../../t/acme/principal?p=user%3Azoe" in links_of(shown)
    assert "1 row that only the later has" in shown
    chosen = re.findall(r"<option[^>]*selected>(.*?)</option>", shown)
    loaded = next(each["loaded"] for each in (newest, oldest) if world.before.startswith(each["revision"]))
    assert [f"{world.before[:8]} {loaded[:16]}", f"{world.serving[:8]} serves"] == chosen


@pytest.mark.parametrize("path", ["names?what=role", "names?what=group", "principal?p=user:bob"])
def test_link_of_a_group_or_role_leads_to_a_matrix_that_can_be_asked(world: World, path: str) -> None:
    links = [each for each in links_of(world.browser.get(f"/t/acme/{path}").text) if "/matrix?" in each]
    first = world.browser.get(links[0].removeprefix("../.."))

    assert 200 == first.status_code
    found = [each for each in links_of(first.text) if "/matrix?" in each]
    assert found
    for link in (found[0], found[-1]):
        assert 'class="matrix"' in world.browser.get(link.removeprefix("../..")).text


def test_pattern_leads_to_the_namespaces_before_its_first_star(world: World) -> None:
    assert "../../t/acme/names?what=namespace&q=acme.finance" in links_of(
        world.browser.get("/t/acme/names?what=pattern&q=acme.finance.*.eu").text
    )


def test_last_denials_have_a_further_page_only_if_there_are_more(world: World) -> None:
    world.client.tenant("acme").check("user:once", "VIEW", "FLOW", "acme.finance")
    assert "Further rows" not in world.browser.get("/t/acme/principal?p=user:once").text
    for _ in range(10):
        world.client.tenant("acme").check("user:once", "VIEW", "FLOW", "acme.finance")
    assert "Further rows" in world.browser.get("/t/acme/principal?p=user:once").text


def test_detail_of_an_event_is_words_on_the_page_and_json_in_csv(world: World) -> None:
    path = "/t/acme/revisions"

    assert f"replaces: {world.before}" in text_of(world.browser.get(path).text)
    assert world.before == json.loads(rows_of(world.browser, path, "events")[0]["detail"])["replaces"]


def test_chain_of_events_leads_to_the_events(world: World) -> None:
    links = links_of(world.browser.get("/audit").text)

    assert {"t/acme/decisions", "t/acme/revisions#events"} <= {each.removeprefix("./") for each in links}


def test_callers_lead_to_their_decisions(world: World) -> None:
    world.client.tenant("acme").check("user:bob", "VIEW", "FLOW", "acme.finance")
    link = "t/acme/decisions?caller=anonymous&since=24h"

    assert link in {each.removeprefix("./") for each in links_of(world.browser.get("/callers").text)}
    assert {"anonymous"} == {each["caller"] for each in rows_of(world.browser, f"/{link}", "records")}


@pytest.mark.parametrize(
    ("question", "path"),
    [
        ("PRINCIPALS", "who?a=UPDATE&k=FLOW&ns=acme.finance"),
        ("NAMESPACES", "where?p=user:bob&a=UPDATE&k=FLOW"),
        ("ACTIONS", "what?p=user:bob&ns=acme.finance"),
        ("HELD", "principal?p=user:bob"),
        ("MATRIX", "matrix?ns=acme.finance&k=FLOW"),
        ("MATRIX", "matrix?rows=namespaces+of+a+principal&p=user:bob&k=FLOW&a=VIEW"),
        ("REACHABLE", "namespace?ns=acme.finance"),
        ("EXPLAIN", "explain?p=user:bob&a=VIEW&k=FLOW&ns=acme.finance"),
        ("REACH_EXPLAIN", "explain-reach?c=acme.data&o=acme.finance&r=SUBFLOW"),
    ],
)
def test_record_of_a_page_leads_back_to_its_question(world: World, question: str, path: str) -> None:
    asked = world.browser.get(f"/t/acme/{path}")
    html = world.browser.get(f"/t/acme/decisions?question={question}").text
    newest = next(each for each in links_of(html) if re.search("/decisions/[0-9a-f-]{36}$", each))
    record = world.browser.get(newest.removeprefix("../..")).text

    (again,) = re.findall('href="([^"]*)" class="again"', record)
    found = urlsplit(unescape(again))
    assert 200 == asked.status_code
    assert f"/t/acme/{path.partition('?')[0]}" == found.path.removeprefix("../../..")
    wanted, given = (parse_qs(each) for each in (path.partition("?")[2], found.query))
    assert wanted == given
    assert ">ask the policy of now<" in record.replace("<bdi>", "").replace("</bdi>", "")
    assert not re.findall(r"<a [^>]*>\s*(?:<code>)?<bdi></bdi>", record)


def test_refused_calls_are_summed_by_the_right_that_is_missing_and_by_the_limit(tmp_path: Path) -> None:
    """The server writes refusals each minute, and when it stops."""
    authority = Authority(tmp_path, trustme.CA())
    policies = Path(shutil.copytree(POLICIES, tmp_path / "policies", ignore=shutil.ignore_patterns("tests")))
    bindings = policies / "_callers" / "bindings.csv"
    rights = (
        "g, service:dns/shop.example.org, role:enforcer, _callers/acme",
        *(f"g, service:dns/eve.example.org, role:{role}, _callers" for role in ("reader", "auditor", "operator")),
    )
    bindings.write_text("\n".join([bindings.read_text(), *rights, ""]))
    limits = tmp_path / "identities.yaml"
    limits.write_text("limits: {'service:dns/shop.example.org': {rate: 0.001, burst: 30}}\n")
    flags = (*authority.server_flags(*authority.signed("server", "127.0.0.1")), "--identities", str(limits))
    server = Server(tmp_path / "server", *flags, policies=policies)
    shop, eve = (authority.caller(authority.signed(name, f"{name}.example.org")) for name in ("shop", "eve"))
    with server:
        with Client(server.target, timeout_s=DEADLINE_S, tls=shop) as client:
            for _ in range(3):
                with pytest.raises(DecisionUnavailable, match="PERMISSION_DENIED"):
                    client.tenant("acme").explain("user:bob", "VIEW", "FLOW", "acme.finance")
        assert 0 == server.terminate()
    with server:
        console = ConsoleOptions(lambda: AsyncClient(server.target, timeout_s=DEADLINE_S, tls=eve), server.target)
        with TestClient(application(console), base_url=BASE) as browser:
            html = browser.get("/callers").text
            causes = rows_of(browser, "/callers", "causes")
            (refused,) = rows_of(browser, "/callers", "refused")
            assert "they are counted below" in html
            assert "No call was refused." in html
            with Client(server.target, timeout_s=DEADLINE_S, tls=shop) as client:
                for _ in range(30):
                    client.tenant("acme").check("user:bob", "VIEW", "FLOW", "acme.finance")
                for _ in range(2):
                    with pytest.raises(DecisionUnavailable, match="RESOURCE_EXHAUSTED"):
                        client.tenant("acme").check("user:bob", "VIEW", "FLOW", "acme.finance")
            limited = [each for each in rows_of(browser, "/callers", "limits") if each["caller"]]
            overview = browser.get("/").text

    assert [{"right": "EXPLAIN", "tenant": "acme", "times": "3"}] == causes
    assert ("service:dns/shop.example.org", "EXPLAIN") == (refused["caller"], refused["right that is missing"])
    asked = "p=service%3Adns%2Fshop.example.org&a=EXPLAIN&k=REMIT&ns=acme"
    assert f"t/_callers/explain?{asked}" in {each.removeprefix("./") for each in links_of(html)}
    assert [("service:dns/shop.example.org", "calls", "caller rate", "2")] == [
        (each["caller"], each["calls"], each["limit"], each["times"]) for each in limited
    ]
    assert "certificate until" in overview


def test_rows_of_run_time_lead_to_their_text_and_to_whom_they_name(tmp_path: Path, untested: Path) -> None:
    policies = Path(shutil.copytree(untested, tmp_path / "policies"))
    tenant = policies / "acme" / "tenant.yaml"
    tenant.write_text(f"{tenant.read_text()}\nruntime:\n  roles: [role:viewer]\n  scopes: [acme.finance.**]\n")
    flags = ("--policy-store", f"sqlite:///{tmp_path / 'policy.db'}")
    with Server(tmp_path / "server", *flags, policies=policies) as server, server.client() as client:
        row = RuntimeBinding("user:zoe", "role:viewer", "acme.finance.**")
        granted_at = client.tenant("acme").change_bindings([row], granter="user:alice", reason="on call").position
        client.tenant("acme", at_least=granted_at).check("user:zoe", "VIEW", "FLOW", "acme.finance")
        (serving,) = [each.revision for each in client.status("acme").tenants]
        console = ConsoleOptions(lambda: AsyncClient(server.target, timeout_s=DEADLINE_S), server.target)
        with TestClient(application(console), base_url=BASE) as browser:
            explained = browser.get("/t/acme/explain?p=user:zoe&a=VIEW&k=FLOW&ns=acme.finance")
            revisions = browser.get("/t/acme/revisions")
            granted = browser.get("/t/acme/bindings?m=user:zoe")
            other = browser.get("/t/acme/bindings?m=user:nobody")
            wrong = browser.get("/t/acme/bindings?m=zoe")
            (text,) = [each for each in links_of(explained.text) if "file=runtime" in each]
            source = browser.get(text.removeprefix("../.."))

    assert (200, True) == (source.status_code, "g, user:zoe, role:viewer" in text_of(source.text))
    assert f"together they are {serving[:12]}" in text_of(revisions.text)
    assert "../../t/acme/principal?p=user%3Azoe" in links_of(granted.text)
    assert "../../t/acme/revisions#events" in links_of(granted.text)
    assert "granter: user:alice; " in text_of(revisions.text)
    assert "No such row is granted." in other.text
    assert (400, True) == (wrong.status_code, "did you mean `user:zoe`" in unescape(wrong.text))
