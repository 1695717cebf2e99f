"""What users run as `remit audit faults`, and that it would notice."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from random import Random

import psycopg
import pytest
from support.load import draw
from support.server import POLICIES, remit, remit_process
from typer.testing import CliRunner

from remit.cli.audit import faults
from remit.cli.main import app
from remit.faults.postgresql import OwnServer
from remit.faults.promise import BrokenPromiseError, expect_kept
from remit.faults.server import ServerProcess
from remit.faults.suite import FAULTS, LAUNCHER, Scene, kill

ROUNDS = 8


def scene(folder: Path, policies: Path, rounds: int) -> Scene:
    return Scene(folder, policies, draw, rounds, Random(), lambda: None, "")


def test_no_fault_loses_an_acknowledged_decision() -> None:
    done = remit_process("audit", "faults", str(POLICIES), "--short", timeout_s=280)
    print(done.stdout, done.stderr)
    assert 0 == done.returncode
    assert [*FAULTS] == re.findall(r"^\s*([a-z-]+)\s.*nothing lost", done.stdout, re.MULTILINE)
    assert f"{len(FAULTS)} of {len(FAULTS)} faults did no harm" in done.stdout


@pytest.mark.parametrize("http", [False, True], ids=["gRPC", "HTTP"])
def test_kill_9_at_any_moment_loses_no_acknowledged_decision(untested: Path, tmp_path: Path, http: bool) -> None:
    """Eight times over one store; each server recovers after the one before."""
    there = replace(scene(tmp_path / "kill", untested, ROUNDS), http=http)
    kill(there)
    assert len(there.acknowledged) > ROUNDS


class Hasty(Scene):
    """Answers do not wait for their records, on a slow disk."""

    def server(self, *flags: str, **options: object) -> ServerProcess:
        hasty = ("--audit-delivery", "after_answer")
        return super().server(*flags, *hasty, launcher=(*LAUNCHER, "slow:200"), **options)


@pytest.mark.parametrize("http", [False, True], ids=["gRPC", "HTTP"])
def test_faults_notice_answers_that_leave_before_their_records(untested: Path, tmp_path: Path, http: bool) -> None:
    there = Hasty(tmp_path / "kill", untested, draw, ROUNDS, Random(), lambda: None, "", http)
    with pytest.raises(BrokenPromiseError, match="acknowledged decisions are lost"):
        kill(there)


def test_unknown_fault_is_reported() -> None:
    done = remit("audit", "faults", str(POLICIES), "--only", "earthquake")
    assert (2, True) == (done.returncode, "no fault `earthquake`: expected one of kill, full-disk" in done.stderr)


def test_named_server_gets_a_separate_database(tmp_path: Path) -> None:
    """It is taken away by ending its sessions, and gone afterwards; others on the server are left alone."""
    with OwnServer() as server:
        only = ("--only", "database", "--only", "spool")
        done = remit("audit", "faults", str(POLICIES), "--short", *only, "--postgresql", server.url)
        assert (0, True) == (done.returncode, "2 of 2 faults did no harm" in done.stdout), done.stdout + done.stderr
        with psycopg.connect(server.url.replace("+psycopg", "")) as connection:
            left = [name for (name,) in connection.execute("SELECT datname FROM pg_database")]
    assert {"postgres", "template0", "template1"} == set(left)


def test_fault_is_skipped_if_no_database_is_available() -> None:
    nowhere = "postgresql+psycopg://nobody@127.0.0.1:1/nowhere"
    done = remit("audit", "faults", str(POLICIES), "--short", "--only", "database", "--postgresql", nowhere)
    assert 3 == done.returncode
    assert "not run" in done.stdout
    assert "database: the PostgreSQL server gives no database" in done.stdout
    assert "0 of 0 faults did no harm, 1 not run" in done.stdout


def test_missing_policies_are_reported(tmp_path: Path) -> None:
    done = remit("audit", "faults", str(tmp_path / "nowhere"))
    assert (3, "") == (done.returncode, done.stdout)


def test_failed_fault_is_reported_and_its_scratch_folder_remains(
    monkeypatch: pytest.MonkeyPatch, untested: Path
) -> None:
    def flood(scene: Scene) -> None:
        scene.folder.mkdir()
        scene.acknowledged.add(bytes(16))
        expect_kept(f"sqlite:///{scene.folder / 'audit.db'}", scene.acknowledged)

    def drought(scene: Scene) -> None:
        with scene.server() as server, server.client() as client:
            client.tenant("acme").check("user:bob", "VIEW", "FLOW", "acme.finance")
            expect_kept(server.audit, {bytes(16)})

    monkeypatch.setattr(faults, "FAULTS", {"flood": (flood, 1, 1), "drought": (drought, 1, 1)})
    done = CliRunner().invoke(app, ["audit", "faults", str(untested)])
    assert 1 == done.exit_code
    assert ["flood", "drought"] == re.findall(r"^\s*([a-z]+)\s.*BROKEN", done.stdout, re.MULTILINE)
    assert "flood: the audit database " in done.stdout
    assert "drought: 1 of 1 acknowledged decisions are lost: 00000000-0000-" in done.stdout
    assert "0 of 2 faults did no harm" in done.stdout
    kept = Path(done.stderr.split()[-1])
    assert {"policies", "flood", "drought"} == {each.name for each in kept.iterdir()}
    shutil.rmtree(kept)
