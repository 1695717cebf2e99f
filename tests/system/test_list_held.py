"""All that leads from a principal: ListHeld."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.in_process import asked, serve_instead
from support.runtime import files
from support.server import POLICIES, Server, remit
from support.trees import tree_of

from remit.audit.record import DecisionRecord
from remit.client import Client, DecisionUnavailable, RuntimeBinding
from remit.fleet.store import Draft, PolicyStore
from remit.v1.search_service_pb2 import HeldEntry, ListHeldRequest

RULES = [(b"few", number) for number in range(5)] + [(b"many", number) for number in range(6)]
VOCABULARY = b"kinds:\n  FLOW: {class: namespace, actions: [VIEW]}\n"


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with server.client() as shared:
        yield shared


def held(**fields: Any) -> ListHeldRequest:
    return ListHeldRequest(**{"tenant": "acme", "principal": "user:bob", **fields})


def texts(entry: HeldEntry) -> list[str]:
    return [each.row.text for each in entry.chain] or [entry.rule.row.text]


def test_entries_name_their_rows_as_the_files_have_them(client: Client) -> None:
    found = list(client.tenant("acme").list_held("user:bob"))
    assert found[0].holds == "group:finance-devs"
    assert texts(found[0]) == ["g, user:bob, group:finance-devs, acme"]
    developer = next(each for each in found if each.holds == "role:developer")
    assert ("acme.finance.**", 0) == (developer.namespaces, developer.expires_us)
    for entry in found:
        for each in entry.chain:
            line = (POLICIES / each.row.file).read_text().splitlines()[each.row.line - 1]
            assert each.row.text == ", ".join(part.strip() for part in line.split(","))
    assert [len(each.chain) for each in found] == sorted(len(each.chain) for each in found)
    assert "role:developer" in client.ask(held()).roles


def test_pages_of_entries_put_together_are_the_whole(client: Client) -> None:
    whole = client.ask(held(page_size=1_000))
    assert ("", whole.total) == (whole.next_page_token, len(whole.entries))
    pages = [client.ask(held(page_size=2))]
    while pages[-1].next_page_token:
        pages.append(client.ask(held(page_size=2, page_token=pages[-1].next_page_token)))
    assert list(whole.entries) == [each for page in pages for each in page.entries]
    assert {tuple(whole.roles)} == {tuple(page.roles) for page in pages}


def test_a_page_is_recorded_with_its_counts(client: Client, since: Callable[[], list[DecisionRecord]]) -> None:
    response = client.ask(held(page_size=2))
    (record,) = since()
    assert ("HELD", "user:bob", "acme", "") == (record.question, record.principal, record.tenant, record.effect)
    counts = {"entries": response.total, "roles": len(response.roles)}
    assert counts.items() <= json.loads(record.detail).items()


def test_a_principals_own_rules_come_first_and_an_access_list_shows(tmp_path: Path) -> None:
    policy = {
        "vocabulary.yaml": VOCABULARY,
        "acme/roles.csv": b"p, role:r, acme, **, FLOW, VIEW, allow\n",
        "acme/bindings.csv": b"g, user:ann, role:r, acme/a.**\np, user:ann, acme, b, FLOW, VIEW, deny\n",
        "acme/tenant.yaml": b"access: [user:ben]\n",
    }
    with asked(tmp_path, policy) as (node, client):
        response = client.ask(held(principal="user:ann", page_size=1))
        assert response.shut_out
        assert (2, "b", ["p, user:ann, acme, b, FLOW, VIEW, deny"]) == (
            response.total,
            response.entries[0].namespaces,
            texts(response.entries[0]),
        )
        rest = client.ask(held(principal="user:ann", page_size=1, page_token=response.next_page_token))
        assert (["role:r"], "") == ([each.holds for each in rest.entries], rest.next_page_token)
        assert 0 == client.ask(held(principal="user:nobody")).total
        policy.pop("acme/tenant.yaml")
        serve_instead(node, policy, "acme")
        with pytest.raises(DecisionUnavailable, match="begin again"):
            client.ask(held(principal="user:ann", page_size=1, page_token=response.next_page_token))
        assert not client.ask(held(principal="user:ann")).shut_out


def test_a_row_of_run_time_shows_its_change_and_its_end(tmp_path: Path) -> None:
    ends_us = int(time.time() * 1e6) + 3_600_000_000
    url = f"sqlite:///{tmp_path / 'policy.db'}"
    with PolicyStore(url) as store:
        store.migrate()
        store.publish(Draft(tree_of(files()), "ci"), 0)
    with Server(tmp_path / "node", "--policy-store", url, policies=None) as server, server.client() as client:
        granted = client.tenant("acme").change_bindings(
            [RuntimeBinding("user:zoe", "role:viewer", "a.**", ends_us)], granter="user:alice"
        )
        (entry,) = client.tenant("acme", at_least=granted.position).list_held("user:zoe")
        assert ("role:viewer", "a.**", ends_us) == (entry.holds, entry.namespaces, entry.expires_us)
        (row,) = entry.chain
        assert (0, ends_us) == (row.row.line, row.expires_us)
        assert row.row.file.startswith("runtime:change ")


def test_too_many_chains_are_an_error_and_never_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("remit.engine.queries.held.ENTRIES_LIMIT", 5)
    groups = b"g, user:ann, group:g1, acme\ng, user:ann, group:g2, acme\n"
    roles = b"".join(b"g, group:g%d, role:r%d, acme\n" % (group, role) for group in (1, 2) for role in (1, 2))
    policy = {
        "vocabulary.yaml": VOCABULARY,
        "acme/roles.csv": b"p, role:r1, acme, **, FLOW, VIEW, allow\np, role:r2, acme, **, FLOW, VIEW, allow\n",
        "acme/bindings.csv": groups + roles + b"g, user:ben, group:g1, acme\n",
    }
    rules = b"".join(b"p, user:%s, acme, n%d, FLOW, VIEW, allow\n" % (who, n) for who, n in RULES)
    policy["acme/bindings.csv"] += rules
    with asked(tmp_path, policy) as (_, client):
        assert 3 == client.ask(held(principal="user:ben")).total
        assert 5 == client.ask(held(principal="user:few")).total
        for principal in ("user:ann", "user:many"):
            with pytest.raises(DecisionUnavailable, match="more than 5 ") as caught:
                client.ask(held(principal=principal))
            assert caught.value.code == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (held(principal="bob"), "principal"),
        (held(principal="group:staff"), "principal"),
        (held(principal="user:\u202e"), "principal"),
        (held(page_size=1_001), "page_size"),
        (held(page_token="nonsense"), "page_token"),
        (held(tenant="No Such"), "tenant"),
    ],
)
def test_a_malformed_request_about_holdings_names_its_field(client: Client, request_: Any, field: str) -> None:
    with pytest.raises(DecisionUnavailable) as caught:
        client.ask(request_)
    assert ("INVALID_ARGUMENT", field) == (caught.value.code, caught.value.violations[0].field)


def test_the_command_held_answers_from_files_as_from_a_server(server: Server) -> None:
    of_files = remit("held", "acme", "user:bob", "--policies", str(POLICIES))
    of_server = remit("held", "acme", "user:bob", "--target", server.target)
    assert (0, of_files.stdout) == (of_server.returncode, of_server.stdout)
    assert "role:developer" in of_files.stdout
    assert 1 == remit("held", "nowhere", "user:bob", "--policies", str(POLICIES)).returncode
