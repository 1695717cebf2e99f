"""Backups of a policy store that a server writes to, and servers over what is restored from them."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from support.runtime import files
from support.server import Server, remit, until
from support.trees import tree_of

from remit.audit.store.store import AuditStore
from remit.client import RuntimeBinding
from remit.core.names import Tenant
from remit.fleet.store import Draft, PolicyStore


@pytest.fixture
def url(tmp_path: Path) -> str:
    with PolicyStore(made := f"sqlite:///{tmp_path / 'policy.db'}") as store:
        store.migrate()
        store.publish(Draft(tree_of(files()), "ci"), 0)
    return made


def grant(server: Server, *numbers: int) -> None:
    with server.client() as client:
        for number in numbers:
            row = RuntimeBinding(f"user:n{number}", "role:viewer", "a.**")
            client.tenant("acme").change_bindings([row], granter="user:alice")


def members(url: str) -> list[str]:
    with PolicyStore(url).open() as store:
        return [each.row.member for each in store.bindings(Tenant("acme"))[1]]


def test_a_backup_after_a_kill_has_every_acknowledged_change_and_can_be_served(url: str, tmp_path: Path) -> None:
    kept, restored = tmp_path / "kept.db", f"sqlite:///{tmp_path / 'restored' / 'policy.db'}"
    with closing(sqlite3.connect(tmp_path / "policy.db")) as reader:
        # Somebody has the file open, so the changes stay in the write-ahead log.
        reader.execute("SELECT count(*) FROM changes").fetchall()
        with Server(tmp_path / "one", "--policy-store", url, policies=None) as server:
            grant(server, 1, 2, 3)
            server.kill()
        assert (tmp_path / "policy.db-wal").stat().st_size
        done = remit("fleet", "backup", "--to", str(kept), "--policy-store", url)
    assert (0, "") == (done.returncode, done.stderr)
    assert f"`{kept}` is whole, {kept.stat().st_size} bytes" in done.stdout
    done = remit("fleet", "restore", str(kept), "--policy-store", restored)
    assert (0, "") == (done.returncode, done.stderr)
    assert ["user:n1", "user:n2", "user:n3"] == members(restored)
    with Server(tmp_path / "one", "--policy-store", restored, policies=None) as server:
        grant(server, 4)
    assert 4 == len(members(restored))


def test_a_backup_beside_a_server_replaces_the_store_when_the_server_has_stopped(url: str, tmp_path: Path) -> None:
    kept = str(tmp_path / "kept.db")
    restore = "fleet", "restore", kept, "--policy-store", url
    with Server(tmp_path / "one", "--policy-store", url, policies=None) as server:
        grant(server, 1)
        assert 0 == remit("fleet", "backup", "--to", kept, "--policy-store", url).returncode
        grant(server, 2)
        again = remit("fleet", "backup", "--to", kept, "--policy-store", url)
        assert (3, True) == (again.returncode, "never overwrites a file" in again.stderr)
        there = remit(*restore)
        assert (3, True) == (there.returncode, "already: name another one, or `--force`" in there.stderr)
        running = remit(*restore, "--force")
        assert (3, True) == (running.returncode, "node `node-1` serves from it" in running.stderr), running.stderr
        assert 2 == len(members(url))
        assert 0 == server.terminate()
        done = remit(*restore, "--force")
        assert (0, True) == (done.returncode, "the previous file is now" in done.stdout), done.stderr
        assert ["user:n1"] == members(url)
        with server.start().client() as client:
            until(
                lambda: not client.tenant("acme").check("user:n2", "VIEW", "FLOW", "a.x").allowed, "the restored rows"
            )


def test_a_store_whose_history_was_changed_is_not_backed_up(url: str, tmp_path: Path) -> None:
    with PolicyStore(url).open() as store, store.engine.begin() as connection:
        connection.execute(text("UPDATE releases SET body = replace(body, 'ci', 'me')"))
    done = remit("fleet", "backup", "--to", str(tmp_path / "kept.db"), "--policy-store", url)
    assert (3, True) == (done.returncode, "is damaged: " in done.stderr), done.stderr
    assert not (tmp_path / "kept.db").exists()


@pytest.mark.parametrize(
    ("command", "told"), [(("backup", "--to", "kept.db"), "pg_dump"), (("restore", "kept.db"), "pg_restore")]
)
def test_postgresql_has_programs_of_its_own(command: tuple[str, ...], told: str) -> None:
    done = remit("fleet", *command, "--policy-store", "postgresql+psycopg://remit:secret@db.internal/policy")
    assert (2, True, False) == (done.returncode, told in done.stderr, "secret" in done.stderr)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    audit = f"sqlite:///{tmp_path / 'audit.db'}"
    with AuditStore(audit) as store:
        store.migrate()
    done = remit("fleet", "backup", "--to", str(tmp_path / "kept.db"), "--policy-store", audit)
    assert (3, True) == (done.returncode, "has no policy store" in done.stderr), done.stderr
