"""The heads of the audit's chains: ListHeads, and what `remit audit verify --record` leaves."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from support.in_process import asked
from support.server import Server, remit, until

from remit.audit.chain.signing import SigningKey
from remit.client import Client, DecisionUnavailable
from remit.v1.audit_service_pb2 import ListHeadsRequest, ListHeadsResponse

POLICY = {"vocabulary.yaml": b"kinds:\n  FLOW: {class: namespace, actions: [VIEW]}\n", "acme/roles.csv": b""}


@pytest.fixture
def signing(serve: Callable[..., Server], untested: Path, tmp_path: Path) -> Iterator[tuple[Server, Client]]:
    """A server that signs, and decided once in each of two tenants."""
    SigningKey.new(tmp_path / "audit.pem")
    server = serve("--audit-key", str(tmp_path / "audit.pem"), "--audit-checkpoint-s", "0.1", policies=untested)
    with server.client() as client:
        client.tenant("acme").check("user:bob", "VIEW", "FLOW", "acme.finance")
        client.tenant("globex").check("user:bob", "VIEW", "FLOW", "globex.x")
        until(lambda: is_signed(client), "the chains are signed")
        yield server, client


def is_signed(client: Client) -> bool:
    found = heads(client).heads
    return len({each.tenant for each in found}) > 1 and all(each.seq == each.signed_seq for each in found)


def heads(client: Client, tenant: str = "") -> ListHeadsResponse:
    response: ListHeadsResponse = client.ask(ListHeadsRequest(tenant=tenant))
    return response


def test_heads_are_those_of_the_store_in_pages(signing: tuple[Server, Client]) -> None:
    server, client = signing
    found = list(client.list_heads(page_size=2))
    with server.store() as store, store.reading() as connection:
        rows = connection.execute(text("SELECT of_table, tenant, node, seq, hash FROM chains")).all()
    assert len(found) == len(rows) > 3
    assert sorted((*row[:4], bytes(row[4]).hex()) for row in rows) == [
        (each.table, each.tenant, each.node, each.seq, each.hash) for each in found
    ]
    acme = list(client.list_heads("acme"))
    assert acme == [each for each in found if each.tenant == "acme"]
    (key,) = {each.key_id for each in acme}
    assert key
    assert all(0 < each.signed_seq <= each.seq and each.signed_us for each in acme)


def test_a_recorded_verification_shows_at_each_head(signing: tuple[Server, Client]) -> None:
    server, client = signing
    assert not heads(client).HasField("verification")
    url = f"sqlite:///{server.database}"
    assert 0 == remit("audit", "verify", "--audit", url).returncode
    assert not heads(client).HasField("verification")

    assert 0 == remit("audit", "verify", "--record", "--audit", url).returncode
    after = heads(client)
    assert after.verification.whole
    assert ("", []) == (after.verification.tenant, list(after.verification.key_ids))
    acme = [each for each in after.heads if each.tenant == "acme" and each.table == "decisions"]
    assert [each.seq for each in acme] == [each.verified_seq for each in acme] == [1]
    # The record is a link of a chain like any other.
    assert 0 == remit("audit", "verify", "--record", "--tenant", "globex", "--audit", url).returncode
    assert ("globex", 0) == (heads(client, "globex").verification.tenant, heads(client).verification.tenant.count("g"))
    until(lambda: is_signed(client), "the records of the verifications are signed")
    shown = remit("audit", "heads", "--audit", url)
    assert shown.stdout == remit("audit", "heads", "--target", server.target).stdout
    assert "decisions\tacme" in shown.stdout


def test_a_verification_that_finds_something_says_so_at_the_chain(signing: tuple[Server, Client]) -> None:
    server, client = signing
    url = f"sqlite:///{server.database}"
    with server.store() as store, store.members[0].transaction() as connection:
        connection.execute(text("UPDATE decisions SET principal = 'user:eve' WHERE tenant = 'acme'"))
    assert 1 == remit("audit", "verify", "--record", "--audit", url).returncode
    after = heads(client)
    assert not after.verification.whole
    broken = {(each.tenant, each.table) for each in after.heads if each.finding}
    assert {("acme", "decisions")} == broken


@pytest.mark.parametrize("token", ["nonsense", "WzEsIDIsIDNd"])
def test_a_wrong_token_of_heads_names_its_field(tmp_path: Path, token: str) -> None:
    with asked(tmp_path, POLICY) as (_, client), pytest.raises(DecisionUnavailable) as caught:
        client.ask(ListHeadsRequest(page_token=token))
    assert ("INVALID_ARGUMENT", "page_token") == (caught.value.code, caught.value.violations[0].field)


def test_an_export_is_no_store_to_record_in() -> None:
    assert 2 == remit("audit", "verify", "--export", "x.jsonl", "--record").returncode
