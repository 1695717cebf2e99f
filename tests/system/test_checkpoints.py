"""A real server signs the heads of its chains, and what it leaves behind verifies, however it ends."""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update
from support.audit_world import relinked
from support.load import Load
from support.server import Server, remit, until
from tools.faults.disk import copied

from remit.audit.chain.chain import DECISIONS, ChainId, genesis
from remit.audit.chain.signing import Checkpoint, PublicKey, SigningKey, public_file
from remit.audit.record import KEY_IN_USE
from remit.audit.schema.tables import chains, checkpoints, decisions
from remit.audit.store.store import AuditStore
from remit.audit.verify.finding import VerificationReport
from remit.audit.verify.store import verify_store
from remit.client import DecisionUnavailable


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "audit.pem"
    assert 0 == remit("audit", "key", "new", str(path)).returncode
    return path


@contextmanager
def opened(database: Path) -> Iterator[AuditStore]:
    with AuditStore(f"sqlite:///{database}").open() as store:
        yield store


def verified(database: Path, *keys: Path, unsigned_us: int = 60_000_000) -> VerificationReport:
    public = [PublicKey.read(public_file(key)) for key in keys]
    with opened(database) as store, store.snapshot() as snapshot:
        return verify_store([snapshot], keys=public, unsigned_us=unsigned_us, counts=True)


def signed(server: Server) -> list[Checkpoint]:
    with opened(server.database) as store, store.snapshot() as snapshot:
        return [Checkpoint._make(row) for row in snapshot.execute(select(checkpoints))]


def test_store_after_kill_9_verifies_and_is_signed_by_the_next_process(
    serve: Callable[..., Server], untested: Path, key: Path, tmp_path: Path
) -> None:
    """Five times over one store, checkpoints all the while."""
    rng = random.Random(5)
    server = serve("--audit-key", str(key), "--audit-checkpoint-s", "0.02", policies=untested)
    for number in range(5):
        if number:
            server.start()
        before = len(signed(server))
        with Load(server, threads=4, seed=rng.randrange(1 << 32)) as load:
            load.until_acknowledged(rng.randrange(50, 200))
            until(lambda before=before: len(signed(server)) > before, "heads are signed")  # type: ignore[misc]
            server.kill()
            load.join()
        left = verified(copied(server.folder, tmp_path / f"round-{number}") / "audit.db", key)
        assert [] == left.findings
        assert left.checkpoints
    server.start()
    until(lambda: all(each.signed_upto for each in verified(server.database, key).chains), "what was left is signed")
    assert [] == verified(server.database, key).findings


def test_a_graceful_stop_leaves_nothing_unsigned(serve: Callable[..., Server], untested: Path, key: Path) -> None:
    server = serve("--audit-key", str(key), "--audit-checkpoint-s", "3600", policies=untested)
    with Load(server) as load:
        load.until_acknowledged(300)
        server.ask_to_stop()
        assert 0 == server.exit_code()
        load.join()
    report = verified(server.database, key, unsigned_us=0)

    assert [] == report.findings
    assert [(each.chain, each.upto) for each in report.chains] == [
        (each.chain, each.signed_upto) for each in report.chains
    ]
    assert report.records >= 300
    assert [] == [line for line in server.logs if line["level"] in {"warning", "error"}]


def test_a_store_verifies_while_a_server_writes_to_it(serve: Callable[..., Server], untested: Path, key: Path) -> None:
    server = serve("--audit-key", str(key), "--audit-checkpoint-s", "0.02", policies=untested)
    with Load(server, threads=4) as load:
        for _ in range(3):
            load.until_acknowledged(len(load.acknowledged) + 200)
            done = remit("audit", "verify", "--key", f"{key}.pub", "--counts", "--audit", server.audit)
            assert (0, True) == (done.returncode, ": whole\n" in done.stdout), done.stdout
        load.stop()
    assert [] == load.failures


def test_keys_change_by_a_restart_which_is_recorded(
    serve: Callable[..., Server], untested: Path, tmp_path: Path
) -> None:
    """A checkpoint of a key that is not given is named; with both keys the store is whole."""
    old, new = tmp_path / "old.pem", tmp_path / "new.pem"
    keys = [SigningKey.new(path).public for path in (old, new)]
    folder = tmp_path / "audit"
    for flags in (("--audit-key", str(old)), ("--audit-key", str(new)), ("--audit-key", str(new)), ()):
        server = serve(*flags, folder=folder, policies=untested)
        assert 0 == server.terminate()
    with opened(server.database) as store:
        told = [json.loads(each.detail) for each in store.lifecycle(type_=KEY_IN_USE, newest_first=False)]
    both, newer = verified(server.database, old, new), verified(server.database, new)

    assert [
        *({"key_id": key.id, "public_key": key.raw.hex()} for key in keys),
        {"key_id": "", "public_key": ""},
    ] == told
    assert [] == both.findings
    assert f"is signed by the key `{keys[0].id}`, which was not given" in newer.findings[0].text
    assert {key.id for key in keys} == {each.key_id for each in signed(server)}


def test_a_store_rewritten_under_a_running_server_stops_it(
    serve: Callable[..., Server], untested: Path, key: Path
) -> None:
    """Somebody who writes to the database and has no key alters a record, makes all that follows fit, and takes out the
    checkpoints that would tell. The server knows what it committed."""
    server = serve("--audit-key", str(key), "--audit-checkpoint-s", "0.02", policies=untested)
    with Load(server, threads=2) as load:
        load.until_acknowledged(50)
        load.stop()
    until(lambda: all(each.upto == each.signed_upto for each in verified(server.database, key).chains), "all is signed")
    chain, upto = rewrite(server.database)
    assert [] == verified(server.database).findings
    with server.client(timeout_s=2.0) as client, pytest.raises(DecisionUnavailable, match="UNAVAILABLE"):
        client.tenant(chain.tenant).check("user:bob", "VIEW", "FLOW", "acme.finance")
    line = server.wait_for("the audit store fails")["event"]
    assert f"committed record {upto}, " in line
    assert "restart the server" in line


def rewrite(database: Path) -> tuple[ChainId, int]:
    """A chain of decisions, and where it ended."""
    with opened(database) as store, store.transaction() as connection:
        rows = [dict(row._mapping) for row in connection.execute(select(decisions).order_by(decisions.c.seq))]
        chain = ChainId(DECISIONS, rows[0]["tenant"], rows[0]["node"])
        rows[3]["resource_id"] = "another"
        (*_, last) = new = relinked(chain, rows, genesis(chain))
        for row in new:
            changed = {name: row[name] for name in ("resource_id", "hash")}
            connection.execute(update(decisions).where(decisions.c.id == row["id"]).values(changed))
        connection.execute(update(chains).where(chains.c.of_table == DECISIONS).values(hash=last["hash"]))
        connection.execute(delete(checkpoints).where(checkpoints.c.of_table == DECISIONS))
    return chain, last["seq"]
