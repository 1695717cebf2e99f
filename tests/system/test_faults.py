"""What users run as `python -m tests.tools.audit_faults`, and that it would notice."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from random import Random

import psycopg
import pytest
from support.load import draw
from support.server import POLICIES, tool
from tools import audit_faults
from tools.faults.postgresql import OwnServer
from tools.faults.promise import BrokenPromiseError, expect_kept
from tools.faults.suite import FAULTS, LAUNCHER, Scene, kill

from remit.pytest_plugin.server_process import ServerProcess

ROUNDS = 8


def scene(folder: Path, policies: Path, rounds: int) -> Scene:
    return Scene(folder, policies, draw, rounds, Random(), lambda: None, "")


def test_no_fault_loses_an_acknowledged_decision() -> None:
    done = tool("audit_faults", str(POLICIES), "--short", timeout_s=280)
    print(done.stdout, done.stderr)
    assert 0 == done.returncode
    assert [*FAULTS] == re.findall(r"^\s*([a-z-]+)\s.*kept$", done.stdout, re.MULTILINE)
    assert f"{len(FAULTS)} of {len(FAULTS)} faults broke no promise" in done.stdout


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
    done = tool("audit_faults", str(POLICIES), "--only", "earthquake")
    assert (2, True) == (done.returncode, "argument --only: invalid choice: 'earthquake' (choose from" in done.stderr)


def test_named_server_gets_a_separate_database(tmp_path: Path) -> None:
    """It is taken away by ending its sessions, and gone afterwards; others on the server are left alone."""
    with OwnServer() as server:
        only = ("--only", "database", "--only", "spool")
        done = tool("audit_faults", str(POLICIES), "--short", *only, "--postgresql", server.url, timeout_s=280)
        assert (0, True) == (done.returncode, "2 of 2 faults broke no promise" in done.stdout), (
            done.stdout + done.stderr
        )
        with psycopg.connect(server.url.replace("+psycopg", "")) as connection:
            left = [name for (name,) in connection.execute("SELECT datname FROM pg_database")]
    assert {"postgres", "template0", "template1"} == set(left)


def test_fault_is_skipped_if_no_database_is_available() -> None:
    nowhere = "postgresql+psycopg://nobody@127.0.0.1:1/nowhere"
    done = tool("audit_faults", str(POLICIES), "--short", "--only", "database", "--postgresql", nowhere)
    assert 3 == done.returncode
    assert "not run" in done.stdout
    assert "database: the PostgreSQL server gives no database" in done.stdout
    assert "0 of 0 faults broke no promise, 1 not run" in done.stdout


def test_missing_policies_are_reported(tmp_path: Path) -> None:
    done = tool("audit_faults", str(tmp_path / "nowhere"))
    assert (3, "") == (done.returncode, done.stdout)


def test_failed_fault_is_reported_and_its_scratch_folder_remains(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], untested: Path
) -> None:
    def flood(scene: Scene) -> None:
        scene.folder.mkdir()
        scene.acknowledged.add(bytes(16))
        expect_kept(f"sqlite:///{scene.folder / 'audit.db'}", scene.acknowledged)

    def drought(scene: Scene) -> None:
        with scene.server() as server, server.client() as client:
            client.tenant("acme").check("user:bob", "VIEW", "FLOW", "acme.finance")
            expect_kept(server.audit, {bytes(16)})

    monkeypatch.setattr(audit_faults, "FAULTS", {"flood": (flood, 1, 1), "drought": (drought, 1, 1)})
    assert 1 == audit_faults.main([str(untested)])
    stdout, stderr = capsys.readouterr()
    assert ["flood", "drought"] == re.findall(r"^\s*([a-z]+)\s.*BROKEN", stdout, re.MULTILINE)
    assert "flood: the audit database " in stdout
    assert "drought: 1 of 1 acknowledged decisions are lost: 00000000-0000-" in stdout
    assert "0 of 2 faults broke no promise" in stdout
    kept = Path(stderr.split()[-1])
    assert {"policies", "flood", "drought"} == {each.name for each in kept.iterdir()}
    shutil.rmtree(kept)
