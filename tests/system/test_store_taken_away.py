"""The files of the audit deleted, renamed, replaced or set back under a running server: it says so, and answers no more."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from sqlalchemy import select
from support.load import Load
from support.questions import check
from support.server import DEADLINE_S, NOT_SERVING, SERVING, Health, Server, access_of, remit, remit_process, until
from tools.faults.disk import decision_ids

from remit.audit.ids import parse_id
from remit.audit.schema.tables import chains, counts

REFUSED = 3


def log_of(file: Path) -> Path:
    return file.with_name(f"{file.name}-wal")


def memory_of(file: Path) -> Path:
    return file.with_name(f"{file.name}-shm")


def delete(file: Path, older: Path) -> None:
    file.unlink()


def delete_all(file: Path, older: Path) -> None:
    for each in (file, log_of(file), memory_of(file)):
        each.unlink()


def rename(file: Path, older: Path) -> None:
    file.rename(file.with_name("moved.db"))


def replace(file: Path, older: Path) -> None:
    """As a backup is put in its place: with nothing beside it."""
    older.replace(file)
    log_of(file).unlink()
    memory_of(file).unlink()


def roll_back(file: Path, older: Path) -> None:
    """An older copy; the log stays."""
    older.replace(file)


def empty(file: Path, older: Path) -> None:
    """As logrotate does with `copytruncate`."""
    os.truncate(file, 0)


def delete_log(file: Path, older: Path) -> None:
    log_of(file).unlink()


def empty_log(file: Path, older: Path) -> None:
    os.truncate(log_of(file), 0)


ACTS = {
    delete: "it was deleted or renamed",
    delete_all: "it was deleted or renamed",
    rename: "it was deleted or renamed",
    replace: "it was replaced by another file",
    roll_back: "it was replaced by another file",
    empty: "it was overwritten or cut short",
    delete_log: "was deleted or renamed",
    empty_log: "was overwritten or cut short",
}


def asked(server: Server, times: int) -> list[grpc.StatusCode]:
    with server.channel() as channel:
        access = access_of(channel)
        return [access.Check.future(check(), timeout=DEADLINE_S).code() for _ in range(times)]


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
def test_server_without_its_audit_file_stops_answering(
    serve: Callable[..., Server], untested: Path, tmp_path: Path, act: Callable[[Path, Path], None]
) -> None:
    """No answer leaves afterwards; callers, health, status and log say why, and what to do."""
    server = serve(policies=untested)
    older = tmp_path / "older.db"
    assert [grpc.StatusCode.OK] * 10 == asked(server, 10)
    assert 0 == remit("audit", "backup", "--to", str(older), "--audit", server.audit).returncode
    assert [grpc.StatusCode.OK] * 10 == asked(server, 10)
    act(server.database, older)
    assert [grpc.StatusCode.UNAVAILABLE] * 20 == asked(server, 20)
    with server.channel() as channel:
        until(lambda: Health(channel).of() == NOT_SERVING, "NOT_SERVING")
    line = server.wait_for("the audit store fails")
    assert "error" == line["level"]
    for told in (f"`{server.database}`", ACTS[act], "restore the original store", "restart the server"):
        assert told in line["event"]
    with server.client() as client:
        audit = client.status().audit
    assert (False, True) == (audit.healthy, ACTS[act] in audit.error)
    assert 1 == remit("status", "--target", server.target).returncode
    server.terminate()
    assert [line] == [each for each in server.logs if "audit store fails" in each["event"]]


def test_idle_server_reports_that_its_audit_is_gone(serve: Callable[..., Server], untested: Path) -> None:
    server = serve(policies=untested)
    server.database.unlink()
    with server.channel() as channel:
        until(lambda: Health(channel).of() == NOT_SERVING, "NOT_SERVING, without traffic")
    assert "it was deleted or renamed" in server.wait_for("the audit store fails")["event"]


def test_renamed_file_holds_all_answered_decisions_once_put_back(serve: Callable[..., Server], untested: Path) -> None:
    """Under load: of every answer there is a record in the files that were at their places when it left."""
    server = serve(policies=untested)
    moved = server.database.with_name("moved.db")
    with Load(server) as load:
        load.until_acknowledged(1_000)
        server.database.rename(moved)
        load.join()
    assert {grpc.StatusCode.UNAVAILABLE} == set(load.failures)
    moved.rename(server.database)
    assert [grpc.StatusCode.UNAVAILABLE] == asked(server, 1), "not before a restart"
    server.terminate()
    again = serve(policies=untested)
    assert [grpc.StatusCode.OK] == asked(again, 1)
    assert 0 == again.terminate()
    assert load.acknowledged <= decision_ids(server.folder)
    assert 0 == remit("audit", "verify", "--counts", "--audit", server.audit).returncode


def refusal(server: Server, policies: Path, *flags: str) -> str:
    """What a server over that one's files says that does not start."""
    named = ("--listen", "127.0.0.1:0", "--metrics", "", "--node", "node-1", "--audit", server.audit)
    named += ("--policies", str(policies), "--revisions", str(server.folder / "var" / "revisions"))
    done = remit_process("serve", *named, *flags)
    assert (REFUSED, True) == (done.returncode, "Traceback" not in done.stderr), done.stderr
    return done.stderr


def test_start_does_not_replace_a_lost_audit(serve: Callable[..., Server], untested: Path) -> None:
    """Unless `--audit-new` is given. A log without its database is never deleted."""
    server = serve(policies=untested)
    assert [grpc.StatusCode.OK] == asked(server, 1)
    server.kill()
    server.database.unlink()
    told = refusal(server, untested, "--audit-new")
    assert f"`{log_of(server.database)}` belongs to an audit database that does not exist" in told
    log_of(server.database).unlink()
    told = refusal(server, untested)
    assert f"setting `audit` names `{server.database}`, which is gone" in told
    assert "start once with `--audit-new`" in told
    assert not server.database.exists()
    again = serve("--audit-new", policies=untested)
    assert [grpc.StatusCode.OK] == asked(again, 1)
    assert "warning" == again.wait_for("a new one is made")["level"]
    assert 0 == again.terminate()
    assert [grpc.StatusCode.OK] == asked(serve(policies=untested), 1)


def test_start_does_not_replace_a_lost_spool(serve: Callable[..., Server], untested: Path) -> None:
    spool = ("--audit-spool", "spool/spool.db")
    server = serve(*spool, policies=untested)
    file = server.folder / "spool" / "spool.db"
    assert 0 == server.terminate()
    file.unlink()
    told = refusal(server, untested, "--audit-spool", str(file))
    assert f"setting `audit_spool` names `{file}`, which is gone" in told
    assert 0 == serve(*spool, "--audit-new", policies=untested).terminate()


def test_server_without_its_spool_stops_answering(serve: Callable[..., Server], untested: Path) -> None:
    """The spool is not needed while the store takes records."""
    server = serve("--audit-spool", "spool.db", policies=untested)
    assert [grpc.StatusCode.OK] == asked(server, 1)
    server.database.unlink()
    assert [grpc.StatusCode.OK] * 3 == asked(server, 3)
    line = server.wait_for("audit records go to the spool")["event"]
    assert "it was deleted or renamed" in line
    (server.folder / "spool.db").unlink()
    assert [grpc.StatusCode.UNAVAILABLE] * 3 == asked(server, 3)
    assert (
        f"the audit spool `{Path('spool.db')}` is no longer the file"
        in server.wait_for("the audit store fails")["event"]
    )


def test_worker_without_its_file_stops_answering_and_the_others_continue(
    serve: Callable[..., Server], untested: Path
) -> None:
    server = serve("--workers", "2", policies=untested)
    gone = server.database.with_name("audit.w2.db")
    gone.unlink()

    def error_of_the_second() -> str:
        asked(server, 1)
        with server.client() as client:
            return {each.node: each.error for each in client.status().workers}["node-1.w2"]

    until(lambda: "it was deleted or renamed" in error_of_the_second(), "the second worker tells what is wrong")
    codes: set[grpc.StatusCode] = set()
    until(lambda: codes.update(asked(server, 1)) or len(codes) > 1, "answers of both")
    assert {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE} == codes
    server.terminate()
    told = refusal(server, untested, "--workers", "2")
    assert f"setting `audit` names `{gone}`, which is gone" in told


def test_a_chain_set_back_under_a_server_stops_it(serve: Callable[..., Server], untested: Path) -> None:
    """The newest records deleted, and table `chains` set back to those before them."""
    server = serve(policies=untested)
    assert [grpc.StatusCode.OK] * 10 == asked(server, 10)
    with closing(sqlite3.connect(server.database)) as other, other:
        (hash_,) = other.execute("SELECT hash FROM decisions WHERE seq = 5").fetchone()
        other.execute("DELETE FROM decisions WHERE seq > 5")
        other.execute("UPDATE chains SET seq = 5, hash = ? WHERE of_table = 'decisions' AND tenant = 'acme'", (hash_,))
    assert [grpc.StatusCode.UNAVAILABLE] * 3 == asked(server, 3)
    line = server.wait_for("the audit store fails")["event"]
    assert "committed record 10, but the database is at 5" in line
    assert "restart the server" in line
    with server.store() as store:
        assert 5 == len(store.decisions())


PLANTED = (
    "CREATE TRIGGER planted BEFORE INSERT ON decisions WHEN NEW.principal = 'user:bob' BEGIN "
    "UPDATE chains SET seq = NEW.seq - 1 WHERE of_table = 'decisions'; SELECT RAISE(IGNORE); END"
)


def test_trigger_added_under_a_server_stops_it_until_the_trigger_is_removed(
    serve: Callable[..., Server], untested: Path, tmp_path: Path
) -> None:
    """Nothing is answered that is not recorded; no start, backup or restore takes it along, and verify names it."""
    server = serve(policies=untested)
    kept, planted = tmp_path / "kept.db", tmp_path / "planted.db"
    assert [grpc.StatusCode.OK] * 3 == asked(server, 3)
    assert 0 == remit("audit", "backup", "--to", str(kept), "--audit", server.audit).returncode
    with closing(sqlite3.connect(server.database, isolation_level=None)) as other:
        other.execute(PLANTED)
        assert [grpc.StatusCode.UNAVAILABLE] * 3 == asked(server, 3)
        assert "a trigger, a rule or a constraint" in server.wait_for("the audit store fails")["event"]
        with server.channel() as channel:
            until(lambda: Health(channel).of() == NOT_SERVING, "NOT_SERVING")
        verified = remit("audit", "verify", "--audit", server.audit)
        assert (1, True) == (verified.returncode, "SCHEMA: the database's schema" in verified.stdout)
        assert "trigger `planted` on `decisions`" in verified.stdout
        backup = remit("audit", "backup", "--to", str(planted), "--audit", server.audit)
        assert (3, True) == (backup.returncode, "trigger `planted`" in backup.stderr)
        shutil.copyfile(kept, planted)
        with closing(sqlite3.connect(planted, isolation_level=None)) as copy:
            copy.execute(PLANTED)
        restored = remit("audit", "restore", str(planted), "--audit", f"sqlite:///{tmp_path / 'new' / 'audit.db'}")
        assert (3, True) == (restored.returncode, "trigger `planted`" in restored.stderr)
        other.execute("DROP TRIGGER planted")
    with server.channel() as channel:
        until(lambda: Health(channel).of() == SERVING, "SERVING again, without traffic")
    assert [grpc.StatusCode.OK] * 3 == asked(server, 3)
    assert 0 == server.terminate()
    with closing(sqlite3.connect(server.database, isolation_level=None)) as other:
        assert (6,) == other.execute("SELECT count(*) FROM decisions").fetchone()
        other.execute(PLANTED)
    assert "trigger `planted` on `decisions`" in refusal(server, untested)
    assert "trigger `planted` on `decisions`" in refusal(server, untested, "--audit-migrate")


def test_invented_tenants_share_one_chain(serve: Callable[..., Server], untested: Path) -> None:
    """Each question has its record, which names the tenant that was asked about."""
    names = [f"t{number}" for number in range(300)]
    server = serve(policies=untested)
    with server.channel() as channel:
        access = access_of(channel)
        answers = [access.Check(check(tenant=name), timeout=DEADLINE_S) for name in names]
    ids = {parse_id(answer.decision.decision_id) for answer in answers}
    assert 0 == server.terminate()
    with server.store() as stores:
        found = [each for each in stores.decisions(limit=1_000) if each.id in ids]
        (store,) = stores.members
        with store.snapshot() as snapshot:
            chains_ = snapshot.execute(select(chains.c.of_table, chains.c.tenant)).all()
            counted = set(snapshot.execute(select(counts.c.tenant)).scalars())
    assert sorted(names) == sorted(each.asked_tenant for each in found)
    assert {("", "UNKNOWN_TENANT")} == {(each.tenant, each.reason) for each in found}
    assert [("decisions", "")] == [each for each in chains_ if each[0] == "decisions"]
    assert {""} == counted
    verified = remit("audit", "verify", "--counts", "--audit", server.audit)
    assert 0 == verified.returncode, verified.stdout
    listed = remit("audit", "list", "--reason", "UNKNOWN_TENANT", "--json", "--limit", "1000", "--audit", server.audit)
    assert {*names} == {each["detail"]["tenant"] for each in json.loads(listed.stdout)["records"]}
