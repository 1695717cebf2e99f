"""Decisions go when their time is over, beside a server that answers; what is left still proves itself."""

import json
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import func, select
from support.audit_records import decision_at
from support.load import Load
from support.server import REMIT, Server, environment, remit, until

from remit.audit.chain.chain import DECISIONS
from remit.audit.chain.signing import PublicKey, SigningKey
from remit.audit.ids import parse_id
from remit.audit.schema.tables import decisions
from remit.audit.store.shards import ShardedStore
from remit.audit.store.store import AuditStore
from remit.audit.verify.store import verify_store

DAY_US = 86_400_000_000
KILLS = 5


def proved(url: str, *keys: PublicKey) -> int:
    """How many decisions are left, of which every chain verifies."""
    with ShardedStore(url).open() as stores, stores.snapshots() as snapshots:
        report = verify_store(snapshots, keys=keys, counts=True)
    assert [] == report.findings
    return sum(each.upto - each.after for each in report.chains if each.chain.table == DECISIONS)


def remaining(store: AuditStore) -> int:
    with store._reading.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(decisions)).scalar_one())


def test_server_deletes_records_older_than_its_retention(
    serve: Callable[..., Server], untested: Path, tmp_path: Path
) -> None:
    """While it answers: no call fails, nothing that is younger goes, and it is signed, recorded, counted and logged."""
    key = SigningKey.new(tmp_path / "audit.key")
    server = serve(
        *("--audit-retention", "2s, globex=1d", "--audit-retention-every-s", "1"),
        *("--audit-key", str(tmp_path / "audit.key"), "--audit-checkpoint-s", "1"),
        policies=untested,
    )
    with server.client() as client, Load(server, threads=4) as load:
        kept = client.tenant("globex").check("user:zoe", "VIEW", "FLOW", "globex.sales").decision_id
        until(lambda: server.metric("remit_audit_purged_total") > 500, "decisions are deleted")
        assert [] == load.failures
        load.stop()
    assert server.metric("remit_audit_retention_runs_total", outcome="done") >= 2
    assert 0 == server.metric("remit_audit_retention_runs_total", outcome="failed")
    assert "info" == server.wait_for("retention ran")["level"]
    assert 0 == server.terminate()
    assert [] == [line for line in server.logs if line["level"] in {"warning", "error"}]
    with server.store() as store:
        left = {each.id for each in store.decisions(limit=1 << 20)}
        events = store.lifecycle(type_="PURGED", limit=1_000)
        assert len(left) == proved(server.audit, key.public)
        assert parse_id(kept) in left
    gone = load.acknowledged - left
    assert len(gone) == sum(json.loads(each.detail)["deleted"] for each in events)
    assert {("node-1", "")} == {(each.node, each.tenant) for each in events}
    assert {"before_us", "tenant", "except", "deleted"} <= {*json.loads(events[0].detail)}


def test_stop_interrupts_the_retention_job_and_records_the_deletions(
    serve: Callable[..., Server], untested: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "audit"
    folder.mkdir()
    with AuditStore(f"sqlite:///{folder / 'audit.db'}") as store:
        store.migrate()
        old_us = time.time_ns() // 1_000 - DAY_US
        store.append([decision_at(old_us + number) for number in range(30_000)])
    server = serve("--audit-retention", "1h", folder=folder, policies=untested)
    until(lambda: server.metric("remit_audit_purged_total") > 500, "decisions are deleted")
    assert 0 == server.terminate()
    assert [] == [line for line in server.logs if line["level"] in {"warning", "error"}]
    with server.store() as store:
        left = proved(server.audit)
        (event,) = store.lifecycle(type_="PURGED")
    assert 30_000 - left == json.loads(event.detail)["deleted"]
    assert left > 0


def test_kill_9_in_the_middle_of_a_purge_leaves_tombstones_that_match(tmp_path: Path) -> None:
    """At random moments; another purge goes on where the killed one was."""
    url = f"sqlite:///{tmp_path / 'audit.db'}"
    rng = random.Random(seed := random.SystemRandom().randrange(1 << 32))
    print(f"seed {seed}")
    now_us = time.time_ns() // 1_000
    with AuditStore(url) as store:
        store.migrate()
        store.open()
        for start in range(0, 12_000, 1_000):
            batch = [
                decision_at(now_us - DAY_US + number, tenant=rng.choice(("acme", "globex")))
                for number in range(start, start + 1_000)
            ]
            rng.shuffle(batch)
            store.append(batch)
        store.append([decision_at(now_us - number, tenant="acme") for number in range(100)])
        for _ in range(KILLS):
            left = proved(url)
            command = [REMIT, "audit", "purge", "--before", "1h", "--yes", "--audit", url]
            with subprocess.Popen(
                command, env=environment({}), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ) as purge:
                until(lambda left=left: remaining(store) < left, "some are deleted")
                time.sleep(rng.choice((0.0, rng.uniform(0, 0.05))))  # the random moment itself: nothing is waited for
                purge.kill()
            assert proved(url) < left
        done = remit("audit", "purge", "--before", "1h", "--yes", "--audit", url)
        assert (0, 100) == (done.returncode, proved(url)), done.stderr
