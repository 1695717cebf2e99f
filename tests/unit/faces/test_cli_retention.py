"""`remit audit purge` and `remit audit retain`: what they print, and what they leave."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.audit_records import decision_at
from sqlalchemy import select
from typer.testing import CliRunner, Result

from remit.audit.signing import SigningKey, Tombstone
from remit.audit.store import AuditStore
from remit.audit.tables import tombstones
from remit.faces.cli.main import app

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


def test_retain_keeps_each_tenants_decisions_as_long_as_its_retention_says(store: AuditStore) -> None:
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
        (("--retention", "4d"), 1, "Delete all decisions of all tenants made before"),
        (("--retention", "4d", "--yes", "--key", "nowhere.pem"), 2, "the key file `nowhere.pem` cannot be read"),
    ],
    ids=range(5),
)
def test_what_retain_is_not_told_it_does_not_delete(
    store: AuditStore, words: tuple[str, ...], code: int, told: str
) -> None:
    done = run("audit", "retain", *words, "--audit", store.url, REMIT_AUDIT_RETENTION="")

    assert (code, True) == (done.exit_code, told in " ".join(done.output.replace("│", "").split())), done.output
    assert {"acme": 10, "globex": 10, "initech": 10} == days(store)


@pytest.mark.parametrize(
    "words", [("retain", "--retention", "3d"), ("purge", "--before", "3d")], ids=("retain", "purge")
)
def test_a_key_signs_what_is_left_behind(store: AuditStore, tmp_path: Path, words: tuple[str, ...]) -> None:
    key = SigningKey.new(tmp_path / "audit.key")

    done = run("audit", *words, "--key", str(tmp_path / "audit.key"), "--yes", "--audit", store.url)

    assert 0 == done.exit_code, done.output
    with store._reading.connect() as connection:
        left = [Tombstone._make(row) for row in connection.execute(select(tombstones))]
    assert [("acme", 8), ("globex", 8), ("initech", 8)] == [(each.tenant, each.seq) for each in left]
    assert all(key.public.made(each.signature, each.text) for each in left)


def test_purge_tells_what_stays_and_why(store: AuditStore) -> None:
    store.append([decision_at(NOW_US, tenant="late"), decision_at(NOW_US - DAY_US, tenant="late")])

    done = run("audit", "purge", "--before", "1h", "--tenant", "late", "--yes", "--audit", store.url)

    assert "0 decisions of tenant late made before" in done.stdout
    assert "1 older ones stay: each follows a newer record in its chain" in done.stdout


def test_an_age_longer_than_time_itself_is_its_beginning(store: AuditStore) -> None:
    assert "0 decisions" in run("audit", "purge", "--before", "999999d", "--yes", "--audit", store.url).stdout
    assert 0 == run("audit", "retain", "--retention", "999999d", "--yes", "--audit", store.url).exit_code
    assert {"acme": 10, "globex": 10, "initech": 10} == days(store)
