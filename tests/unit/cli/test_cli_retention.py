"""`remit audit purge` and `remit audit retain`: what they print, and what they leave."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select
from support.audit_records import decision_at, happened
from typer.testing import CliRunner, Result

from remit.audit.chain.signing import SigningKey, Tombstone
from remit.audit.checkpoint.checkpointer import key_in_use
from remit.audit.record import KEY_IN_USE
from remit.audit.schema.tables import tombstones
from remit.audit.store import checkpoints
from remit.audit.store.store import AuditStore
from remit.cli.main import app

DAY_US = 86_400_000_000
NOW_US = time.time_ns() // 1_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AuditStore]:
    """Decisions of three tenants, of each of the last ten days."""
    with AuditStore(f"sqlite:///{tmp_path / 'audit.db'}") as made:
        made.migrate()
        made.open().append(
            [
                decision_at(NOW_US - day * DAY_US - 1_000, tenant=tenant)
                for day in range(10, 0, -1)
                for tenant in ("acme", "globex", "initech")
            ]
        )
        yield made


def run(*words: str, **environment: str) -> Result:
    return CliRunner().invoke(app, list(words), env=environment, terminal_width=200)


def days(store: AuditStore) -> dict[str, int]:
    """How many of each tenant are left."""
    left = [each.tenant for each in store.decisions(limit=100)]
    return {tenant: left.count(tenant) for tenant in sorted(set(left))}


def test_retain_deletes_each_tenants_decisions_by_its_age(store: AuditStore) -> None:
    done = run("audit", "retain", "--retention", "4d, globex=8d, initech=forever", "--yes", "--audit", store.url)

    assert 0 == done.exit_code, done.output
    assert {"acme": 3, "globex": 7, "initech": 10} == days(store)
    assert re.match(
        r"10 decisions deleted: those of all other tenants made before \S+Z, of tenant globex made before \S+Z\n",
        done.stdout,
    )


def test_retain_takes_the_setting_of_the_server(store: AuditStore) -> None:
    environment = {"REMIT_AUDIT": store.url, "REMIT_AUDIT_RETENTION": "acme=4d"}

    assert 0 == run("audit", "retain", "--yes", **environment).exit_code
    assert {"acme": 3, "globex": 10, "initech": 10} == days(store)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--retention", "forever", "--yes"), 0, "decisions are kept forever"),
        (("--retention", "90", "--yes"), 2, "`90` names no age: expected one such as `90d`"),
        (("--yes",), 2, "Missing option '--retention'"),
        (("--retention", "4d"), 1, "Delete 21 decisions: those of all tenants made before"),
        (("--retention", "4d, globex=9d"), 1, "Delete 16 decisions: those of all other tenants made before"),
        (("--retention", "4d", "--yes", "--key", "nowhere.pem"), 2, "the key file `nowhere.pem` cannot be read"),
    ],
    ids=range(6),
)
def test_retain_deletes_nothing_without_an_age(store: AuditStore, words: tuple[str, ...], code: int, told: str) -> None:
    done = run("audit", "retain", *words, "--audit", store.url, REMIT_AUDIT_RETENTION="")

    assert (code, True) == (done.exit_code, told in " ".join(done.output.replace("│", "").split())), done.output
    assert {"acme": 10, "globex": 10, "initech": 10} == days(store)


@pytest.mark.parametrize(
    "words", [("retain", "--retention", "3d"), ("purge", "--before", "3d")], ids=("retain", "purge")
)
def test_key_signs_the_tombstones_of_a_purge_by_hand(store: AuditStore, tmp_path: Path, words: tuple[str, ...]) -> None:
    key = SigningKey.new(tmp_path / "audit.key")

    done = run("audit", *words, "--key", str(tmp_path / "audit.key"), "--yes", "--audit", store.url)

    assert 0 == done.exit_code, done.output
    with store._reading.connect() as connection:
        left = [Tombstone._make(row) for row in connection.execute(select(tombstones))]
    assert [("acme", 8), ("globex", 8), ("initech", 8)] == [(each.tenant, each.seq) for each in left]
    assert all(key.public.made(each.signature, each.text) for each in left)


def test_purge_asks_with_the_number_of_decisions(store: AuditStore) -> None:
    told = "Delete 8 decisions: those of tenant globex made before"
    refused = run("audit", "purge", "--before", "3d", "--tenant", "globex", "--audit", store.url)

    assert (1, True) == (refused.exit_code, told in refused.output)
    assert 10 == days(store)["globex"]


def key_for(store: AuditStore, path: Path, signs: str) -> SigningKey:
    """A key by which the store is signed: by what a server says, by a checkpoint, or by an earlier purge."""
    key = SigningKey.new(path)
    match signs:
        case "KEY_IN_USE":
            store.append([], [happened(KEY_IN_USE, tenant="", detail=json.dumps(key_in_use(key)))])
        case "checkpoint":
            checkpoints.sign(store, key, checkpoints.heads(store))
        case "tombstone":
            store.purge(NOW_US - 9 * DAY_US, key=key)
    return key


@pytest.mark.parametrize("signs", ["KEY_IN_USE", "checkpoint", "tombstone"])
@pytest.mark.parametrize(
    "words", [("retain", "--retention", "3d"), ("purge", "--before", "3d")], ids=("retain", "purge")
)
def test_purge_without_the_key_of_a_signed_store_is_refused(
    store: AuditStore, tmp_path: Path, words: tuple[str, ...], signs: str
) -> None:
    """Unless that is what is wanted."""
    key = key_for(store, tmp_path / "audit.key", signs)
    before = days(store)
    purge = ("audit", *words, "--yes", "--audit", store.url)

    refused = run(*purge)
    assert (2, before) == (refused.exit_code, days(store))
    assert f"is signed (keys `{key.public.id}`)" in refused.stderr
    assert "add --key FILE, or --unsigned to purge all the same" in refused.stderr
    assert 0 == run(*purge, "--unsigned").exit_code
    assert {"acme": 2, "globex": 2, "initech": 2} == days(store)


def test_a_tombstone_that_a_purge_left_unsigned_is_signed_when_asked(store: AuditStore, tmp_path: Path) -> None:
    file = tmp_path / "audit.key"
    key_for(store, file, "checkpoint")
    verify = ("audit", "verify", "--key", f"{file}.pub", "--audit", store.url)
    purge = ("audit", "purge", "--before", "3d", "--yes", "--unsigned", "--audit", store.url)
    assert 0 == run(*purge).exit_code
    broken = run(*verify)
    checkpoint = ("audit", "checkpoint", "--key", str(file), "--record", "--audit", store.url)
    run(*checkpoint)
    still = run(*verify)
    one = run(*checkpoint, "--tombstones", "--tenant", "globex")
    others = run(*checkpoint, "--tombstones")
    healed = run(*verify)

    assert [1, 1, 0] == [each.exit_code for each in (broken, still, healed)], healed.stdout
    assert "is not signed: if a purge without its key left it, `remit audit checkpoint --key FILE" in broken.stdout
    assert "signed the tombstone of decisions of tenant `globex` by node `node-1`, seq 8\n" == one.stderr
    assert ["acme", "initech"] == re.findall(r"tenant `(\w+)`", others.stderr)
    assert all("seq" in json.loads(line) for line in others.stdout.splitlines())
    assert 2 == run("audit", "checkpoint", "--tombstones", "--audit", store.url).exit_code


def test_purge_by_hand_signs_its_own_records(store: AuditStore, tmp_path: Path) -> None:
    """No server does: its chain would be without a signature for ever."""
    file = tmp_path / "audit.key"
    key_for(store, file, "checkpoint")
    for before in ("5d", "3d"):
        purge = ("audit", "purge", "--before", before, "--key", str(file), "--yes", "--audit", store.url)
        assert 0 == run(*purge).exit_code
    done = run("audit", "verify", "--key", f"{file}.pub", "--unsigned", "0s", "--audit", store.url)

    assert (0, True) == (done.exit_code, "0 records come after the last signature" in done.stdout), done.stdout


def test_purge_prints_what_stays_and_why(store: AuditStore) -> None:
    store.append([decision_at(NOW_US, tenant="late"), decision_at(NOW_US - DAY_US, tenant="late")])

    done = run("audit", "purge", "--before", "1h", "--tenant", "late", "--yes", "--audit", store.url)

    assert "0 decisions of tenant late made before" in done.stdout
    assert "1 older records stay: each follows a newer record in its chain" in done.stdout


def test_age_longer_than_the_clock_is_its_beginning(store: AuditStore) -> None:
    assert "0 decisions" in run("audit", "purge", "--before", "999999d", "--yes", "--audit", store.url).stdout
    assert 0 == run("audit", "retain", "--retention", "999999d", "--yes", "--audit", store.url).exit_code
    assert {"acme": 10, "globex": 10, "initech": 10} == days(store)
