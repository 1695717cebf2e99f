"""Who signs which heads, and when."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update
from support.audit_records import decision, happened
from support.server import DEADLINE_S, until

from remit.audit.chain.chain import DECISIONS, LIFECYCLE, ChainId, Head, genesis
from remit.audit.chain.signing import Checkpoint, SigningKey
from remit.audit.checkpoint.checkpointer import Checkpointer, key_in_use, recorded_key
from remit.audit.record import KEY_IN_USE
from remit.audit.schema.tables import chains, checkpoints
from remit.audit.store.checkpoints import heads
from remit.audit.store.store import AuditStore
from remit.audit.verify.store import verify_store

OURS = ChainId(DECISIONS, "acme", "node-1")
THEIRS = ChainId(DECISIONS, "acme", "node-2")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AuditStore]:
    with AuditStore(f"sqlite:///{tmp_path / 'audit.db'}", busy_timeout_s=0.05) as opened:
        opened.migrate()
        yield opened.open()


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return SigningKey.new(tmp_path / "audit.pem")


@pytest.fixture
def checkpointer(store: AuditStore, key: SigningKey) -> Checkpointer:
    return new_checkpointer(store, key)


def new_checkpointer(store: AuditStore, key: SigningKey, every_s: float = 3_600.0) -> Checkpointer:
    return Checkpointer(store, key, "node-1", every_s, clock_us=lambda: 1_795_436_096_000_000)


def kept(store: AuditStore) -> list[Checkpoint]:
    with store.snapshot() as connection:
        rows = connection.execute(select(checkpoints).order_by(*checkpoints.primary_key))
        return [Checkpoint._make(row) for row in rows]


def test_each_chain_that_has_grown_is_signed_once(
    store: AuditStore, key: SigningKey, checkpointer: Checkpointer
) -> None:
    store.append([decision(), decision(tenant="globex"), decision()], [happened()])
    checkpointer._sign()
    checkpointer._sign()
    first = kept(store)
    store.append([decision(), decision()])
    checkpointer._sign()
    (second,) = [each for each in kept(store) if each not in first]

    assert {(OURS, 2), (OURS._replace(tenant="globex"), 1), (OURS._replace(table=LIFECYCLE), 1)} == {
        (each.chain, each.seq) for each in first
    }
    assert all(each.previous == genesis(each.chain) for each in first)
    assert [(OURS, 4, first[0].head)] == [(second.chain, second.seq, second.previous)]
    assert all(key.public.made(each.signature, each.text) and each.key_id == key.public.id for each in kept(store))
    with store.snapshot() as snapshot:
        assert [] == verify_store([snapshot], keys=[key.public], unsigned_us=0).findings


def test_new_process_continues_after_the_signatures_of_the_old_one(store: AuditStore, key: SigningKey) -> None:
    store.append([decision()])
    new_checkpointer(store, key)._sign()
    store.append([decision()])
    new_checkpointer(store, key)._sign()

    assert [1, 2] == [each.seq for each in kept(store)]
    assert kept(store)[0].head == kept(store)[1].previous


def test_chain_of_another_node_is_signed_once_it_stops_growing(
    store: AuditStore, checkpointer: Checkpointer, key: SigningKey
) -> None:
    """While it grows its node is there to do it, and does."""
    store.append([decision(node="node-2")])
    checkpointer._sign()
    store.append([decision(node="node-2")])
    checkpointer._sign()
    assert [] == kept(store)
    checkpointer._sign()
    assert [(THEIRS, 2)] == [(each.chain, each.seq) for each in kept(store)]
    store.append([decision(node="node-2")])
    Checkpointer(store, key, "node-2", 60, lambda: 1)._sign()
    for _ in range(3):
        checkpointer._sign()
    assert [2, 3] == [each.seq for each in kept(store)]


@pytest.mark.parametrize("head", [Head(1, b"h" * 32), Head(3, b"h" * 32)])
def test_chain_that_was_cut_back_or_replaced_is_reported_once_and_not_signed(
    store: AuditStore, checkpointer: Checkpointer, caplog: pytest.LogCaptureFixture, head: Head
) -> None:
    store.append([decision(), decision(), decision()])
    checkpointer._sign()
    with store.transaction() as connection:
        connection.execute(update(chains).values(**head._asdict()))
        connection.execute(delete(checkpoints))
    checkpointer._sign()
    checkpointer._sign()

    assert [] == kept(store)
    (told,) = caplog.records
    assert (logging.ERROR, True) == (told.levelno, "see `remit audit verify`" in told.getMessage())
    assert f"is at seq {head.seq} and was signed at seq 3" in told.getMessage()


def test_removed_checkpoint_is_found_by_the_next_signature(
    store: AuditStore, checkpointer: Checkpointer, key: SigningKey
) -> None:
    store.append([decision()])
    checkpointer._sign()
    with store.transaction() as connection:
        connection.execute(delete(checkpoints))
    store.append([decision()])
    checkpointer._sign()

    with store.snapshot() as snapshot:
        (found,) = verify_store([snapshot], keys=[key.public]).findings
    assert (1, True) == (found.seq, "which is gone" in found.text)


def test_store_that_refuses_checkpoints_is_logged_once(
    store: AuditStore, checkpointer: Checkpointer, caplog: pytest.LogCaptureFixture
) -> None:
    store.append([decision()])
    with store.transaction():
        checkpointer._sign()
        checkpointer._sign()
    checkpointer._sign()

    assert 1 == len(kept(store))
    assert [logging.ERROR, logging.WARNING] == [each.levelno for each in caplog.records]
    assert "no audit checkpoint can be made: cannot write to the audit database" in caplog.records[0].getMessage()


def test_checkpointer_signs_at_start_at_intervals_and_at_stop(store: AuditStore, key: SigningKey) -> None:
    store.append([decision()])
    often, once = new_checkpointer(store, key, 0.01), new_checkpointer(store, key)
    often.begin()
    for seq in range(1, 4):
        until(lambda seq=seq: seq in {each.seq for each in kept(store)}, "the head is signed")  # type: ignore[misc]
        store.append([decision()])
    often.stop(DEADLINE_S)
    store.append([decision()])
    once.begin()
    until(lambda: kept(store)[-1].seq == 5, "the head is signed")
    store.append([decision()])
    once.stop(DEADLINE_S)

    assert dict(heads(store)) == {kept(store)[-1].chain: kept(store)[-1].head}


def test_the_key_that_a_node_was_last_recorded_to_use_is_found_among_others(store: AuditStore, key: SigningKey) -> None:
    def used(key: SigningKey | None, node: str = "node-1") -> None:
        import json  # noqa: PLC0415

        store.append([], [happened(KEY_IN_USE, node=node, detail=json.dumps(key_in_use(key)))])

    assert "" == recorded_key(store, "node-1")
    used(key)
    for _ in range(150):
        used(None, "node-2")
    assert key.public.id == recorded_key(store, "node-1")
    used(None)
    assert "" == recorded_key(store, "node-1")


def test_chains_of_configured_tenants_are_signed_first(store: AuditStore, key: SigningKey) -> None:
    store.append([decision(tenant=name) for name in ("", "a", "acme", "b", "zeta")])
    configured = Checkpointer(
        store, key, "node-1", 3_600.0, clock_us=lambda: 1_795_436_096_000_000, tenants=lambda: {"acme", "zeta"}
    )
    assert ["acme", "zeta", "", "a", "b"] == [each.tenant for each in configured._grown()]


def test_stop_signs_within_its_time(
    store: AuditStore, checkpointer: Checkpointer, caplog: pytest.LogCaptureFixture
) -> None:
    store.append([decision(tenant=name) for name in ("acme", "globex")])
    checkpointer.stop(0.0)
    assert [] == kept(store)
    assert "the stop leaves chains of the audit unsigned" in caplog.text
