"""What may befall a server: each fault ends with the proof that nothing it acknowledged is lost."""

import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from remit.audit.ids import format_id, id_time_ms
from remit.audit.query.filter import DecisionFilter
from remit.faults.disk import SmallDisk, copied, decision_ids, small_disk, tear
from remit.faults.load import Load, Questions
from remit.faults.postgresql import Database, OnServer, OwnServer
from remit.faults.promise import expect, expect_kept, until
from remit.faults.server import ServerProcess

_A_ROUND: Final = 300
"""Decisions, at most, before the fault."""
LAUNCHER: Final = (sys.executable, "-P", str(Path(__file__).with_name("launcher.py")))
_HOUR_S: Final = 3_600


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a fault happens."""

    folder: Path
    """Empty at the beginning."""
    policies: Path
    questions: Questions
    rounds: int
    rng: Random
    advance: Callable[[], None]
    """Hears of each round that is over."""
    postgresql: str
    """The URL of a server; empty for one of our own."""
    acknowledged: set[bytes] = field(default_factory=set)

    def server(self, *flags: str, folder: str = "audit", **options: Any) -> ServerProcess:
        return ServerProcess(self.folder / folder, *flags, policies=self.policies, **options)

    def load(self, server: ServerProcess) -> Load:
        return Load(server, self.questions, seed=self.rng.randrange(1 << 32))

    def some(self) -> int:
        """How many decisions before something happens."""
        return self.rng.randrange(1, _A_ROUND)


Fault = Callable[[Scene], None]
"""Raises BrokenPromiseError where remit does not stand it, NoDatabaseError where it cannot be had here."""


def kill_under_load(scene: Scene, server: ServerProcess) -> None:
    """SIGKILL at a random moment; what was acknowledged until then is added to the scene's."""
    with scene.load(server) as load:
        load.until_acknowledged(scene.some())
        time.sleep(scene.rng.uniform(0, 0.03))  # the random moment itself
        expect(f"a call failed before the kill: {load.failures}", holds=not load.failures)
        server.kill()
        load.join()
    scene.acknowledged.update(load.acknowledged)


def kill(scene: Scene) -> None:
    """kill -9 during writes, round after round over one store; each server recovers what the one before left."""
    server = scene.server()
    for number in range(scene.rounds):
        with server:
            kill_under_load(scene, server)
        left = decision_ids(copied(server.folder, scene.folder / f"round-{number}"))
        lost = scene.acknowledged - left
        expect(f"{len(lost)} acknowledged decisions are lost after kill {number + 1}", holds=not lost)
        scene.advance()
    expect_kept(server.audit, scene.acknowledged)


def half_written_page(scene: Scene) -> None:
    """kill -9, and half a page more at the end of the write-ahead log."""
    server = scene.server()
    for _ in range(scene.rounds):
        with server:
            kill_under_load(scene, server)
        tear(server.database.with_name("audit.db-wal"), scene.rng)
        with server:
            _ask_again(scene, server)
            expect("the server does not stop with exit code 0", holds=server.terminate() == 0)
        decision_ids(server.folder)
        scene.advance()
    expect_kept(server.audit, scene.acknowledged)


def full_disk(scene: Scene) -> None:
    """UNAVAILABLE and not healthy while there is no room, and healthy again by itself once there is."""
    for number in range(scene.rounds):
        with small_disk(scene.folder / f"round-{number}") as disk:
            _fill(scene, disk, scene.server(*disk.flags, folder=f"round-{number}/audit"))
        scene.advance()


def _fill(scene: Scene, disk: SmallDisk, server: ServerProcess) -> None:
    with server:
        acknowledged = _until_refused(scene, server)
        until(lambda: not healthy(server), "not healthy on a full disk")
        if not disk.mounted:
            # To make room there decisions are purged.
            expect_kept(server.audit, acknowledged)
            acknowledged = set()
        disk.make_room(server.audit)
        until(lambda: healthy(server), "healthy again with room")
        acknowledged |= _ask_again(scene, server)
        expect("the server does not stop with exit code 0", holds=server.terminate() == 0)
    expect_kept(server.audit, acknowledged)


def slow_disk(scene: Scene) -> None:
    """Commits take a fifth of a second longer; a kill falls into the middle of one."""
    server = scene.server(launcher=(*LAUNCHER, "slow:200"))
    for _ in range(scene.rounds):
        with server:
            kill_under_load(scene, server)
        scene.advance()
    expect_kept(server.audit, scene.acknowledged)


def clock_step(scene: Scene) -> None:
    """The clock steps back an hour under load: ids grow on, and each record is found by its time."""
    server = scene.server(launcher=(*LAUNCHER, f"clock:-{_HOUR_S}"))
    for _ in range(scene.rounds):
        with server:
            with scene.load(server) as load:
                load.until_acknowledged(scene.some())
                server.signal(signal.SIGUSR1)
                before = set(load.acknowledged)
                load.until_acknowledged(len(before) + _A_ROUND)
                load.stop()
            expect(f"a call failed: {load.failures}", holds=not load.failures)
            scene.acknowledged.update(load.acknowledged)
            _expect_in_time(server, newest=max(before), later=load.acknowledged - before)
            expect("the server does not stop with exit code 0", holds=server.terminate() == 0)
        scene.advance()
    expect_kept(server.audit, scene.acknowledged)


def database_restart(scene: Scene) -> None:
    """PostgreSQL is taken away under load: UNAVAILABLE at once, and healthy by itself when it is back."""
    with _database(scene) as database, scene.server("--audit-migrate", audit=database.url) as server:
        for _ in range(scene.rounds):
            with scene.load(server) as load:
                load.until_acknowledged(scene.some())
                database.take_away()
                load.join()
            scene.acknowledged.update(load.acknowledged)
            until(lambda: not healthy(server), "not healthy without its database")
            database.bring_back()
            until(lambda: healthy(server), "healthy with its database")
            _ask_again(scene, server)
            scene.advance()
        expect("the server does not stop with exit code 0", holds=server.terminate() == 0)
        expect_kept(database.url, scene.acknowledged)


def database_restart_with_a_spool(scene: Scene) -> None:
    """PostgreSQL is taken away under load, and the server killed without it: no call fails but for the kill, and the
    spool drains by itself."""
    with _database(scene) as database:
        spool = scene.folder / "spool.db"
        server = scene.server("--audit-migrate", "--audit-spool", str(spool), audit=database.url)
        for _ in range(scene.rounds):
            with server:
                with scene.load(server) as load:
                    load.until_acknowledged(scene.some())
                    database.take_away()
                    load.until_acknowledged(len(load.acknowledged) + scene.some())
                    load.stop()
                expect(f"a call failed although there is a spool: {load.failures}", holds=not load.failures)
                scene.acknowledged.update(load.acknowledged)
                expect("no record waits in the spool", holds=waiting(server) > 0)
                kill_under_load(scene, server)
            with server:
                with scene.load(server) as load:
                    load.until_acknowledged(scene.some())
                    database.bring_back()
                    until(lambda: waiting(server) == 0, "the spool is empty")
                    load.stop()
                expect(f"a call failed although there is a spool: {load.failures}", holds=not load.failures)
                scene.acknowledged.update(load.acknowledged)
                expect("the server does not stop with exit code 0", holds=server.terminate() == 0)
            scene.advance()
        expect_kept(database.url, scene.acknowledged)


FAULTS: Final[dict[str, tuple[Fault, int, int]]] = {
    "kill": (kill, 100, 3),
    "full-disk": (full_disk, 3, 1),
    "slow-disk": (slow_disk, 5, 1),
    "half-page": (half_written_page, 10, 1),
    "clock": (clock_step, 3, 1),
    "database": (database_restart, 5, 1),
    "spool": (database_restart_with_a_spool, 5, 1),
}
"""Each with the rounds of a whole and of a short run."""


def healthy(server: ServerProcess) -> bool:
    with server.client() as client:
        return bool(client.status().audit.healthy)


def waiting(server: ServerProcess) -> int:
    """Records in the server's spool; 0 once they need it no more."""
    with server.client() as client:
        spool = client.status().audit.spool
        return int(spool.records) or int(spool.spooling)


def _database(scene: Scene) -> Database:
    return OnServer(scene.postgresql) if scene.postgresql else OwnServer()


def _ask_again(scene: Scene, server: ServerProcess) -> set[bytes]:
    """All is well: no call fails. What was acknowledged, which is added to the scene's."""
    with scene.load(server) as load:
        load.until_acknowledged(scene.some())
        load.stop()
    expect(f"a call failed although all is well again: {load.failures}", holds=not load.failures)
    scene.acknowledged.update(load.acknowledged)
    return load.acknowledged


def _until_refused(scene: Scene, server: ServerProcess) -> set[bytes]:
    """Asks until no call is answered any more."""
    acknowledged: set[bytes] = set()
    while healthy(server):
        with scene.load(server) as load:
            load.until_acknowledged(sys.maxsize)  # that is: until a call fails
            load.join()
        acknowledged |= load.acknowledged
    scene.acknowledged.update(acknowledged)
    return acknowledged


def _expect_in_time(server: ServerProcess, newest: bytes, later: set[bytes]) -> None:
    """Of decisions after the clock stepped back."""
    # Calls that were under way when it stepped may have had their ids before.
    with server.store() as store:
        records = [record for id_ in sorted(later) if (record := store.decision(id_)) is not None]
        expect("no decision has an id above those from before the clock stepped back", holds=records[-1].id > newest)
        for record in records:
            off = abs(record.time_us // 1000 - id_time_ms(record.id))
            expect(f"decision {format_id(record.id)} has a time {off} ms from its id", holds=off <= 1)
            where = DecisionFilter(since_us=record.time_us, until_us=record.time_us + 1, ids=(record.id,))
            expect(
                f"decision {format_id(record.id)} is not found by its time", holds=store.decisions(where) == [record]
            )
