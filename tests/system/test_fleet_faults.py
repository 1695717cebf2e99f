"""What users run as `python -m tests.tools.fleet_faults`, and that it would notice."""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
from support.fleet import allows, publish
from support.server import ROOT, tool
from support.waiting import until
from tools import fleet_faults
from tools.faults.fleet import world
from tools.faults.fleet.checker import PROMISES
from tools.faults.fleet.databases import HOST, StandbyPair, url_at
from tools.faults.fleet.history import CheckCall
from tools.faults.fleet.network import NoNetworkError, node_network
from tools.faults.fleet.node import FleetOrder
from tools.faults.fleet.proxy import FaultyProxy
from tools.faults.fleet.suite import FLEET_FAULTS, play
from tools.faults.fleet.world import FleetWorld
from tools.faults.postgresql import NoDatabaseError
from tools.faults.promise import BrokenPromiseError

from remit.fleet.hints import LISTENING, POLLING, Hints
from remit.fleet.journal import ReleaseJournal
from remit.fleet.store import PolicyStore

MUTANT = Path(__file__).parents[1] / "support" / "fleet_mutant.py"
BOUND_S = 3.0
PARTS = 4


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(PARTS))
def test_no_fault_breaks_a_promise(part: int) -> None:
    """The bound is long, because the machine may be busy."""
    names = [*FLEET_FAULTS][part::PARTS]
    only = [word for name in names for word in ("--only", name)]
    done = tool("fleet_faults", "--rounds", "1", "--within", "30", *only, timeout_s=560)
    print(done.stdout, done.stderr)
    assert 0 == done.returncode
    kept = re.findall(r"^\s*([a-z-]+)\s.*\bkept$", done.stdout, re.MULTILINE)
    left = re.findall(r"^([a-z-]+): needs network namespaces", done.stdout, re.MULTILINE)
    assert [name for name in names if name not in left] == kept
    assert set(left) <= {"unplugged"}
    assert f"{len(kept)} of {len(kept)} faults broke no promise" in done.stdout


@pytest.mark.parametrize(
    ("mutant", "fault", "promises"),
    [
        ("never_polls", "notifications", {"P4", "P5"}),
        pytest.param("never_ends", "skew", {"P10"}, marks=pytest.mark.long),
        pytest.param("ignores_forks", "failover", {"P5", "P6"}, marks=pytest.mark.long),
        pytest.param("orders_by_number", "failover", {"P3"}, marks=pytest.mark.long),
        pytest.param("looked_lately", "slow", {"P3"}, marks=pytest.mark.long),
        pytest.param("places_too_soon", "slow", {"P7"}, marks=pytest.mark.long),
        pytest.param("repeats_requests", "slow", {"P8"}, marks=pytest.mark.long),
        pytest.param("forgets_lost_rows", "rows-lost", {"P7"}, marks=pytest.mark.long),
        pytest.param("mixes_releases", "cut", {"P7"}, marks=pytest.mark.long),
    ],
)
def test_a_mistake_in_a_node_is_noticed(mutant: str, fault: str, promises: set[str], tmp_path: Path) -> None:
    order = FleetOrder(tmp_path, BOUND_S, (sys.executable, "-P", str(MUTANT), mutant))
    with FleetWorld(order) as fleet:
        found: set[str] = set()
        for seed in range(5):
            if not promises <= found:
                fleet.rng = Random(seed)
                found |= {each.promise for each in play(fleet, FLEET_FAULTS[fault]).violations}
    assert promises <= found


@pytest.fixture
def proxy() -> Iterator[FaultyProxy]:
    """Between tests and a PostgreSQL with an empty policy store."""
    with StandbyPair() as database:
        with PolicyStore(database.url) as store:
            store.migrate()
        with FaultyProxy(HOST, database.port) as made:
            yield made


def test_a_node_listens_anew_if_its_connection_hangs(proxy: FaultyProxy, tmp_path: Path) -> None:
    """Such a connection looks like one without news."""
    journal = ReleaseJournal(tmp_path)
    journal.begin()
    with (
        PolicyStore(url_at(proxy.port)) as store,
        PolicyStore(url_at(proxy.port)) as other,
        Hints(store, journal) as hints,
    ):
        until(lambda: listens(hints))
        publish(other, 0, acme=allows("ann"))
        assert hints.wait(10.0)
        hints.looked(news=True)
        assert LISTENING == mode_of(hints)

        proxy.hang()
        other.engine.dispose()
        publish(other, 1, acme=allows("bob"))
        assert not hints.wait(0.1)
        hints.looked(news=True)
        assert LISTENING == hints.mode
        # The pool of the store hangs too, until its timeout.
        store.engine.dispose()
        until(lambda: POLLING == mode_of(hints))
        until(lambda: listens(hints))

        publish(other, 2, acme=allows("cid"))
        assert hints.wait(10.0)
        hints.looked(news=True)
        assert LISTENING == mode_of(hints)
    journal.end()


def test_a_node_listens_anew_less_and_less_often_if_nobody_notifies(
    proxy: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1_000.0
    monkeypatch.setattr("remit.fleet.hints.time", SimpleNamespace(monotonic=lambda: now_s))
    journal = ReleaseJournal(tmp_path)
    journal.begin()
    with PolicyStore(url_at(proxy.port)) as store, Hints(store, journal) as hints:
        until(lambda: listens(hints))
        pauses = []
        for _ in range(7):
            hints.looked(news=True)
            doubted_s = now_s
            while LISTENING == mode_of(hints):
                now_s += 0.5
            pauses.append(now_s - doubted_s)
            until(lambda: listens(hints))
        assert [1.5, 2.5, 4.5, 8.5, 16.5, 30.5, 30.5] == pauses

        with PolicyStore(url_at(proxy.port)) as other:
            publish(other, 0, acme=allows("ann"))
        assert hints.wait(10.0)
        hints.looked(news=True)
        hints.looked(news=True)
        now_s += 1.5
        assert POLLING == mode_of(hints)
    journal.end()


def test_a_notification_costs_a_node_no_statement(
    proxy: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes with each change, and each statement is on the way to its effect."""
    journal = ReleaseJournal(tmp_path)
    journal.begin()
    with (
        PolicyStore(url_at(proxy.port)) as store,
        PolicyStore(url_at(proxy.port)) as other,
        Hints(store, journal) as hints,
    ):
        until(lambda: listens(hints))
        sent: list[str] = []
        monkeypatch.setattr(hints._connection, "execute", sent.append)
        publish(other, 0, acme=allows("ann"))
        assert hints.wait(10.0)
        assert [] == sent
    journal.end()


def mode_of(hints: Hints) -> str:
    hints.listen()
    return hints.mode


def listens(hints: Hints) -> bool:
    hints.listen()
    hints.wait(0.1)
    return LISTENING == hints.mode


def test_a_node_that_asks_whether_notifications_arrive_goes_on_polling(
    proxy: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = ReleaseJournal(tmp_path)
    journal.begin()
    proxy.loses_notifications = True
    with PolicyStore(url_at(proxy.port)) as store, Hints(store, journal) as hints:
        monkeypatch.setattr("remit.fleet.hints._PROBE_S", 3600.0)
        assert not listens(hints)
        assert not listens(hints)
        monkeypatch.setattr("remit.fleet.hints._PROBE_S", 0.0)
    journal.end()


def test_a_broken_promise_and_a_fleet_that_collapses_are_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lie(world: FleetWorld) -> None:
        world.history.checks.append(CheckCall("node-1", "acme", "user:ann", None, None, 0.0, 0.0, "made up"))

    def collapse(_: FleetWorld) -> None:
        raise BrokenPromiseError("the sky falls")

    monkeypatch.setattr(fleet_faults, "FLEET_FAULTS", {"lie": lie, "collapse": collapse, "nothing": lambda _: None})
    assert 1 == fleet_faults.main(["--rounds", "2", "--within", "30"])
    stdout, stderr = capsys.readouterr()
    assert {"lie": "1", "collapse": "0"} == dict(re.findall(r"^\s*([a-z]+)\s+(\d+)\s.*BROKEN$", stdout, re.MULTILINE))
    assert f"lie: P9 ({PROMISES['P9']}): node node-1 did not answer about acme: made up" in stdout
    assert "collapse: the sky falls" in stdout
    assert "1 of 3 faults broke no promise" in stdout
    kept = Path(stderr.split()[-1])
    assert "made up" in (kept / "fleet-1" / "history.txt").read_text()
    assert "serving" in (kept / "fleet-2" / "node-3.log").read_text()
    shutil.rmtree(kept)


def test_nothing_is_tried_without_a_database(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none() -> None:
        raise NoDatabaseError("`psycopg` is not installed")

    monkeypatch.setattr(world, "StandbyPair", none)
    assert 3 == fleet_faults.main(["--only", "cut"])
    stdout = capsys.readouterr().out
    assert "cut: `psycopg` is not installed" in stdout
    assert "0 of 0 faults broke no promise, 1 not run" in stdout


@pytest.mark.parametrize(
    ("path", "told"), [("", "`ip` (package iproute2) is not installed"), ("refuses", "does not allow: `ip netns add")]
)
def test_a_fault_that_the_machine_does_not_allow_is_not_run(
    path: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if path:
        program = tmp_path / "ip"
        program.write_text("#!/bin/sh\necho 'Operation not permitted' >&2\nexit 1\n")
        program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path) if not path else f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(NoNetworkError, match=re.escape(told)), node_network():
        pass


def test_the_page_names_every_promise_and_every_fault() -> None:
    page = (ROOT / "docs/how-to/fleet.md").read_text()
    assert [] == [name for name in PROMISES if f"| {name} |" not in page]
    assert [] == [name for name in FLEET_FAULTS if f"| `{name}` |" not in page]


def test_unknown_fault_of_a_fleet_is_reported() -> None:
    done = tool("fleet_faults", "--only", "earthquake")
    assert (2, True) == (done.returncode, "argument --only: invalid choice: 'earthquake' (choose from" in done.stderr)
