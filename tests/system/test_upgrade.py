"""What docs/how-to/upgrade.md says of policy stores: schemas, versions, and the way back."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import text
from support.fleet import allows, files, publish
from support.server import Server, remit, remit_process, until
from support.trees import write

from remit.fleet.schema.migrate import NEWEST, VERSION_TABLE
from remit.fleet.store import PolicyStore
from remit.service.version import VERSION


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'policy.db'}"


def migrated_to(store: PolicyStore, version: str) -> None:
    with store.engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '{version}'"))


def views(server: Server, principal: str) -> bool:
    with server.client() as client:
        return client.tenant("acme").check(principal, "VIEW", "FLOW", "a").allowed


def test_a_node_goes_on_over_a_newer_schema_and_does_not_start_again(tmp_path: Path, url: str) -> None:
    with PolicyStore(url) as store:
        store.migrate()
        publish(store, 0, acme=allows("ann"))
        with Server(tmp_path / "one", "--policy-store", url, policies=None, node="one") as server:
            until(lambda: VERSION in remit("nodes", "--policy-store", url).stdout, "the node reports its version")
            migrated_to(store, "0099")
            publish(store, 1, acme=allows("bob"))
            until(lambda: views(server, "user:bob"), "the new release serves")
            server.terminate()
        words = ("--node", "one", "--listen", "127.0.0.1:0", "--http", "", "--metrics", "", "--revisions", "")
        place = (
            "--audit",
            f"sqlite:///{tmp_path / 'one' / 'audit.db'}",
            "--releases",
            str(tmp_path / "one/var/releases"),
        )
        told = remit_process("serve", "--policy-store", url, *words, *place)
        assert 3 == told.returncode
        unknown = f"has schema `0099`, which is unknown to this remit (it knows `{NEWEST}`)"
        assert unknown in told.stderr
        other = write(tmp_path / "policies", files(acme=allows("eve")))
        refused = remit("publish", str(other), "--to", url, "--migrate")
        assert (3, True) == (refused.returncode, unknown in refused.stderr)
        migrated_to(store, NEWEST)
        assert 0 == remit("publish", str(other), "--to", url, "--migrate").returncode


def test_the_store_of_a_directory_is_migrated_by_a_publish_that_publishes_nothing(tmp_path: Path, url: str) -> None:
    policies = write(tmp_path / "policies", files(acme=allows("ann")))
    flags = ("--policy-store", url)
    with Server(tmp_path / "one", *flags, policies=policies, node="one") as server:
        server.terminate()
    told = remit("publish", str(policies), "--to", url, "--migrate")
    assert (0, True) == (told.returncode, "has these files already: nothing to publish" in told.stdout)
    with Server(tmp_path / "one", *flags, policies=policies, node="one") as server:
        assert views(server, "user:ann")
    with PolicyStore(url) as store:
        assert 1 == len(store.releases(10))


def test_the_store_of_a_backup_serves_and_the_server_says_what_it_lost(tmp_path: Path, url: str) -> None:
    policies = write(tmp_path / "policies", files(acme=allows("ann")))
    backup, file = tmp_path / "backup.db", tmp_path / "policy.db"
    flags = ("--policy-store", url)
    with Server(tmp_path / "one", *flags, policies=policies, node="one") as server:
        server.terminate()
    shutil.copy(file, backup)
    write(policies, files(acme=allows("bob")))
    with Server(tmp_path / "one", *flags, policies=policies, node="one") as server:
        assert views(server, "user:bob")
        server.terminate()
    shutil.copy(backup, file)
    # The directory has newer files than the backup: they are published again, with another time and hash.
    with Server(tmp_path / "one", *flags, policies=policies, node="one") as server:
        assert views(server, "user:bob")
        with server.store() as store:
            until(lambda: store.lifecycle(type_="POLICY_FORK"), "the fork is recorded")
