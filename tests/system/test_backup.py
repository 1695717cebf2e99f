"""Backups of a store that a server writes to, and servers over what is restored from them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.load import Load
from support.server import Server, remit
from system.test_retention import proved
from tools.faults.disk import decision_ids

from remit.audit.store.store import AuditStore


def test_a_backup_beside_a_server_under_load_is_whole_and_can_be_served(
    serve: Callable[..., Server], untested: Path, tmp_path: Path
) -> None:
    """No call fails meanwhile; every decision that was answered before the backup began is in it."""
    server = serve(policies=untested)
    kept = tmp_path / "audit.backup"
    with Load(server) as load:
        load.until_acknowledged(2_000)
        before = set(load.acknowledged)
        done = remit("audit", "backup", "--to", str(kept), "--audit", server.audit)
        assert (0, "") == (done.returncode, done.stderr)
        assert f"`{kept}` is whole, {kept.stat().st_size} bytes" in done.stdout
        load.until_acknowledged(len(load.acknowledged) + 200)
        load.stop()
    assert [] == load.failures
    in_use = remit("audit", "restore", str(kept), "--force", "--audit", server.audit)
    assert (3, True) == (in_use.returncode, "is in use" in in_use.stderr)
    assert 0 == server.terminate()
    assert load.acknowledged == decision_ids(server.folder)

    folder = tmp_path / "restored"
    restored = remit("audit", "restore", str(kept), "--audit", f"sqlite:///{folder / 'audit.db'}")
    assert (0, "") == (restored.returncode, restored.stderr)
    assert before <= decision_ids(folder) <= load.acknowledged
    again = serve(folder=folder, policies=untested)
    with again.client() as client:
        assert client.tenant("acme").check("user:bob", "VIEW", "FLOW", "acme.finance").allowed
    assert 0 == again.terminate()
    assert proved(again.audit) > len(before)


def test_restore_over_a_store_needs_force_and_renames_the_old_store(
    serve: Callable[..., Server], untested: Path, tmp_path: Path
) -> None:
    server = serve(policies=untested)
    kept = tmp_path / "kept"
    with server.client() as client:
        client.tenant("acme").check("user:bob", "VIEW", "FLOW", "acme.finance")
        assert 0 == remit("audit", "backup", "--to", str(kept), "--audit", server.audit).returncode
        client.tenant("acme").check("user:bob", "VIEW", "FLOW", "acme.finance")
    assert 0 == server.terminate()
    refused = remit("audit", "restore", str(kept), "--audit", server.audit)
    assert (3, True) == (refused.returncode, "already: name another one, or `--force`" in refused.stderr)
    assert 2 == len(decision_ids(server.folder))
    forced = remit("audit", "restore", str(kept), "--force", "--audit", server.audit)
    assert 0 == forced.returncode, forced.stderr
    (aside,) = server.folder.glob("audit.db.replaced-*")
    assert f"the previous file is now `{aside}`" in forced.stdout
    assert 1 == len(decision_ids(server.folder))
    with AuditStore(f"sqlite:///{aside}").open() as store:
        assert 2 == len(store.decisions())


def test_backup_into_a_missing_folder_names_the_folder(tmp_path: Path) -> None:
    """It names no temporary file."""
    store = AuditStore(f"sqlite:///{tmp_path / 'audit.db'}")
    store.migrate()
    store.close()
    done = remit("audit", "backup", "--audit", store.url, "--to", str(tmp_path / "nowhere" / "x.db"))
    assert 3 == done.returncode
    told = " ".join(done.stderr.split())
    assert f"cannot write to the folder `{tmp_path / 'nowhere'}`: No such file or directory" in told
    assert "partial" not in told


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("backup", "--to", "x", "--audit", "postgresql+psycopg://localhost/remit"), 2, "pg_dump --format=custom"),
        (("restore", "x", "--audit", "postgresql+psycopg://localhost/remit"), 2, "pg_restore"),
        (("backup", "--to", "x", "--audit", "mysql://localhost/remit"), 2, "is no audit store"),
        (("backup", "--to", "x", "--audit", "sqlite:////nowhere/audit.db"), 3, "no audit store at `/nowhere/audit.db`"),
        (("restore", "/nowhere/x", "--audit", "sqlite:////tmp/remit-nothing.db"), 3, "no audit store at `/nowhere/x`"),
    ],
    ids=range(5),
)
def test_failed_backup_or_restore_says_what_to_do(words: tuple[str, ...], code: int, told: str) -> None:
    done = remit("audit", *words)
    assert (code, True) == (done.returncode, told in done.stderr), done.stderr
