"""The console at a server with workers and a policy store, for people with different rights."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from html import unescape
from pathlib import Path

import pytest
import trustme
from starlette.testclient import TestClient
from support.certificates import Authority
from support.console import GRAPHS, example_paths
from support.server import DEADLINE_S, POLICIES, Server, until

from remit.client import AsyncClient, Client, MutualTls
from remit.console.app import application
from remit.console.options import ConsoleOptions
from remit.console.pages import PAGES

AUDITOR, OPERATOR, AUTHOR, EVERYBODY = "auditor", "operator", "author", "everybody"
ROLES = {
    AUDITOR: ["role:auditor, _callers"],
    OPERATOR: ["role:operator, _callers"],
    AUTHOR: ["role:reader, _callers/acme"],
    EVERYBODY: [f"role:{each}, _callers" for each in ("auditor", "operator", "reader", "enforcer")],
}
LACKS = {
    AUDITOR: {
        "LIST": {"where", "what", "reach", "namespace"},
        "WHO": {"who", "matrix", "bindings"},
        "READ": {"diff", "names", "source", "tests"},
        "CHECK": {"graph"},
    },
    OPERATOR: {
        "AUDIT": {"audit", "shadow", "decisions", "live", "denials", "record", "explain"},
        "EXPLAIN": {"explain", "explain-reach"},
        "LIST": {"where", "what", "reach", "namespace"},
        "WHO": {"who", "matrix", "bindings"},
        "READ": {"diff", "names", "source", "tests"},
        "CHECK": {"graph"},
    },
    AUTHOR: {"AUDIT": {"audit", "shadow", "decisions", "live", "denials", "record", "explain"}},
}
"""Pages that a person cannot open, by the right that it takes; of the past, an explanation takes AUDIT too."""


class World:
    def __init__(self, server: Server, tls: dict[str, MutualTls], paths: dict[str, list[str]]) -> None:
        self.server = server
        self.tls = tls
        self.paths = paths
        self.browsers: dict[str, TestClient] = {}

    def open(self, stack: ExitStack) -> None:
        for name, tls in self.tls.items():
            made = ConsoleOptions(
                lambda tls=tls: AsyncClient(self.server.target, timeout_s=DEADLINE_S, tls=tls),  # type: ignore[misc]
                self.server.target,
                graphs=GRAPHS,
            )
            browser = TestClient(application(made), base_url="http://127.0.0.1:9095", follow_redirects=False)
            self.browsers[name] = stack.enter_context(browser)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, untested: Path) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("workers")
    authority = Authority(folder, trustme.CA())
    policies = Path(shutil.copytree(untested, folder / "policies"))
    shutil.copytree(POLICIES / "_callers", policies / "_callers", ignore=shutil.ignore_patterns("tests"))
    rights = [f"g, service:dns/{name}.example.org, {role}" for name, roles in ROLES.items() for role in roles]
    bindings = policies / "_callers" / "bindings.csv"
    bindings.write_text("\n".join([bindings.read_text(), *rights, ""]))
    flags = [
        *authority.server_flags(*authority.signed("server", "127.0.0.1")),
        *("--workers", "2", "--policy-store", f"sqlite:///{folder / 'policy.db'}"),
    ]
    tls = {name: authority.caller(authority.signed(name, f"{name}.example.org")) for name in ROLES}
    with ExitStack() as stack:
        server = stack.enter_context(Server(folder / "server", *flags, policies=policies))
        with Client(server.target, timeout_s=DEADLINE_S, tls=tls[EVERYBODY]) as client:
            made = World(server, tls, example_paths(client))
        made.open(stack)
        yield made


def rights_lacked(world: World, name: str) -> dict[str, set[str]]:
    """Pages that answer with a missing right, by that right."""
    found: dict[str, set[str]] = {}
    for page, paths in world.paths.items():
        for path in paths:
            answer = world.browsers[name].get(path)
            assert answer.status_code in {200, 400, 403, 404}, (path, answer.text)
            if answer.status_code == 403:
                _, _, begun = unescape(answer.text).partition(
                    f"You lack a right: `service:dns/{name}.example.org` may not "
                )
                found.setdefault(begun.partition(" ")[0], set()).add(page)
    return found


def test_every_page_answers_whoever_has_all_rights(world: World) -> None:
    for page in PAGES:
        for path in world.paths[page.name]:
            assert world.browsers[EVERYBODY].get(path).status_code in {200, 400}, path


@pytest.mark.parametrize("name", [AUDITOR, OPERATOR, AUTHOR])
def test_page_that_somebody_may_not_see_names_the_right_that_it_takes(world: World, name: str) -> None:
    found = rights_lacked(world, name)

    assert LACKS[name] == found


def test_nodes_are_not_denied_to_exist_for_whoever_may_not_see_them(world: World) -> None:
    author, operator = (world.browsers[name].get("/nodes").text for name in (AUTHOR, OPERATOR))

    assert "The nodes: not shown, you need the right STATUS across tenants." in author
    assert "no policy store" not in author
    assert "learns of releases by" in operator
    (only,) = world.browsers[OPERATOR].get("/nodes?csv=nodes").text.splitlines()[1:]
    assert ("SERVING", "polling") == (only.split(",")[1], only.split(",")[5])


def test_node_s_figures_are_those_of_all_workers_or_name_the_worker(world: World) -> None:
    with Client(world.server.target, timeout_s=DEADLINE_S, tls=world.tls[OPERATOR]) as client:
        until(lambda: all(each.serving for each in client.status().workers), "all workers serve")
    for path in ("/", "/audit"):
        text = world.browsers[EVERYBODY].get(path).text
        assert "records since the start, of all workers" in text
        assert "records waiting, of this worker" in text
    shown = world.browsers[OPERATOR].get("/?csv=workers").text
    assert all(f"node-1.w{number},SERVING," in shown for number in (1, 2))


def test_events_of_a_tenant_are_not_those_that_its_readers_cause(world: World) -> None:
    """Each page that an auditor opens leaves reads."""
    auditor = world.browsers[AUDITOR]
    for path in ("/t/acme", "/t/acme/revisions"):
        for _ in range(3):
            assert 200 == auditor.get(path).status_code
        shown = auditor.get(path, params={"csv": "events"}).text
        assert shown.count("POLICY_LOADED") >= 2
        assert "AUDIT_READ" not in shown
    assert "AUDIT_READ" in auditor.get("/audit?csv=audit-read").text


def test_live_page_shows_what_any_worker_decides(world: World) -> None:
    answered: set[str] = set()

    def both_decided() -> bool:
        with Client(world.server.target, timeout_s=DEADLINE_S, tls=world.tls[EVERYBODY]) as client:
            node = client.status().node
            client.tenant("acme").check(f"user:by-{node.replace('.', '-')}", "VIEW", "FLOW", "acme.finance")
            answered.add(node)
        return len(answered) == 2

    def shown() -> bool:
        text = world.browsers[AUDITOR].get("/t/acme/live?csv=records").text
        return all(f"user:by-node-1-w{number}" in text for number in (1, 2))

    until(both_decided, "each worker decided")
    until(shown, "the decisions of both")
