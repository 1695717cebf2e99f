"""Each answer leaves after a sync that covers its record, so a power cut takes no acknowledged decision.

kill -9 cannot show this: the kernel keeps what was written and never synced."""

import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.load import Load
from support.power import Disk, compiled
from support.server import Server
from tools.faults.disk import decision_ids

LAUNCHER = Path(__file__).parents[1] / "support" / "launcher_synchronous.py"
AUDIT_ALONE = ("--revisions", "")
"""Nothing else is written to the disk."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("shim"))


def cut_under_load(server: Server, acknowledged: int) -> set[bytes]:
    """What the server had acknowledged when the power went."""
    with Load(server) as load:
        load.until_acknowledged(acknowledged)
        assert [] == load.failures
        server.kill()
        load.join()
    return load.acknowledged


def test_power_cut_loses_no_acknowledged_decision(
    serve: Callable[..., Server], untested: Path, library: Path, tmp_path: Path
) -> None:
    """Three cuts; each server starts from what the cut before it left."""
    acknowledged: set[bytes] = set()
    left: Path | None = None
    for number in range(3):
        disk = Disk(library, tmp_path / f"disk-{number}", delay_ms=5, before=left)
        server = serve(*AUDIT_ALONE, folder=disk.live, extra=disk.environment, policies=untested)
        acknowledged |= cut_under_load(server, random.randrange(500, 1_500))
        left = disk.after_power_cut(tmp_path / f"left-{number}")
        assert {"audit.db", "audit.db-wal"} == {file.name for file in left.iterdir()}
        assert set() == acknowledged - decision_ids(left)
        left = disk.after_power_cut(tmp_path / f"next-{number}")


@pytest.mark.parametrize("synchronous", ["OFF", "NORMAL"])
def test_power_cut_shows_a_store_that_does_not_sync_before_the_answer(
    serve: Callable[..., Server], untested: Path, library: Path, tmp_path: Path, synchronous: str
) -> None:
    """The same cut over SQLite with less than synchronous=FULL takes acknowledged decisions: the test has teeth.

    A single cut may take nothing: NORMAL syncs at each checkpoint, and the cut may come right after one.
    """
    left, kept = a_durable_decision(serve, untested, tmp_path)
    launcher = (sys.executable, str(LAUNCHER), synchronous)
    lost: set[bytes] = set()
    cuts = 0
    while not lost and cuts < 8:
        disk = Disk(library, tmp_path / f"disk-{cuts}", delay_ms=5, before=left)
        server = serve(*AUDIT_ALONE, folder=disk.live, extra=disk.environment, policies=untested, launcher=launcher)
        acknowledged = cut_under_load(server, random.randrange(500, 1_500))
        found = decision_ids(disk.after_power_cut(tmp_path / f"left-{cuts}"))
        assert kept <= found
        lost = acknowledged - found
        cuts += 1
    assert lost


def test_power_cut_loses_records_that_after_answer_only_queued(
    serve: Callable[..., Server], untested: Path, library: Path, tmp_path: Path
) -> None:
    """Delivery `after_answer` says so; and an answer that does not wait for its record is noticed here."""
    left, kept = a_durable_decision(serve, untested, tmp_path)
    disk = Disk(library, tmp_path / "disk", delay_ms=200, before=left)
    flags = ("--audit-delivery", "after_answer")
    server = serve(*AUDIT_ALONE, *flags, folder=disk.live, extra=disk.environment, policies=untested)
    acknowledged = cut_under_load(server, 500)
    found = decision_ids(disk.after_power_cut(tmp_path / "left"))
    assert kept <= found
    assert acknowledged - found


def a_durable_decision(serve: Callable[..., Server], policies: Path, tmp_path: Path) -> tuple[Path, set[bytes]]:
    """A disk with a store, and the one decision in it."""
    server = serve(*AUDIT_ALONE, folder=tmp_path / "whole", policies=policies)
    with server.client() as client:
        client.tenant("acme").check("user:bob", "VIEW", "FLOW", "acme.finance")
    assert 0 == server.terminate()
    return server.folder, decision_ids(server.folder)
