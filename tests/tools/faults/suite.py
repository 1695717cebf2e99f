"""The faults: each breaks a real server, and then proves that no acknowledged decision is lost."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from remit.audit.ids import format_id, id_time_ms
from remit.audit.query.filter import DecisionFilter
from remit.pytest_plugin.server_process import ServerProcess

from .disk import SmallDisk, copied, decision_ids, small_disk, tear
from .load import Load, Questions
from .postgresql import Database, OnServer, OwnServer
from .promise import expect, expect_kept, until

_A_ROUND: Final = 300
"""The most decisions before a fault."""
LAUNCHER: Final = (sys.executable, "-P", str(Path(__file__).with_name("launcher.py")))
_HOUR_S: Final = 3_600


@dataclass(frozen=True, slots=True)
class Scene:
    """The inputs of a fault: an empty folder, policies, questions and rounds."""

    folder: Path
    policies: Path
    questions: Questions
    rounds: int
    rng: Random
    advance: Callable[[], None]
    """Called after each round."""
    postgresql: str
    """The URL of a PostgreSQL server. Empty: the fault starts one."""
    http: bool = False
    """Whether the load asks over HTTP instead of gRPC."""
    acknowledged: set[bytes] = field(default_factory=set)

    def server(self, *flags: str, folder: str = "audit", **options: Any) -> ServerProcess:
        http = "127.0.0.1:0" if self.http else ""
        return ServerProcess(self.folder / folder, *flags, policies=self.policies, http=http, **options)

    def load(self, server: ServerProcess) -> Load:
        return Load(server, self.questions, seed=self.rng.randrange(1 << 32), http=self.http)

    def some(self) -> int:
        """Draws the number of decisions before the fault."""
        return self.rng.randrange(1, _A_ROUND)


Fault = Callable[[Scene], None]
"""Raises BrokenPromiseError if remit fails the fault, and NoDatabaseError if the fault cannot run here."""


def kill_under_load(scene: Scene, server: ServerProcess) -> None:
    """Sends SIGKILL at a random moment. Adds the acknowledged decisions to the scene."""
    with scene.load(server) as load:
        load.until_acknowledged(scene.some())
        time.sleep(scene.rng.uniform(0, 0.03))  # the random moment itself
        expect(f"a call failed before the kill: {load.failures}", holds=not load.failures)
        server.kill()
        load.join()
    scene.acknowledged.update(load.acknowledged)


def kill(scene: Scene) -> None:
    """kill -9 during writes, many rounds over one store. Each server recovers the store of the previous round."""
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
    """kill -9, then a half-written page at the end of the write-ahead log."""
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
    """A full disk: the server is unhealthy and answers UNAVAILABLE. It recovers alone once the disk has room."""
    for number in range(scene.rounds):
        with small_disk(scene.folder / f"round-{number}") as disk:
            _fill(scene, disk, scene.server(*disk.flags, folder=f"round-{number}/audit"))
        scene.advance()


def _fill(scene: Scene, disk: SmallDisk, server: ServerProcess) -> None:
    with server:
        acknowledged = _until_refused(scene, server)
        until(lambda: not healthy(server), "not healthy on a full disk")
        if not disk.mounted:
            # On such a disk, making room purges all decisions.
            expect_kept(server.audit, acknowledged)
            acknowledged = set()
        disk.make_room(server.audit)
        until(lambda: healthy(server), "healthy again with room")
        acknowledged |= _ask_again(scene, server)
        expect("the server does not stop with exit code 0", holds=server.terminate() == 0)
    expect_kept(server.audit, acknowledged)


def slow_disk(scene: Scene) -> None:
    """A slow disk: commits take 200 ms longer, and the kill happens during a commit."""
    server = scene.server(launcher=(*LAUNCHER, "slow:200"))
    for _ in range(scene.rounds):
        with server:
            kill_under_load(scene, server)
        scene.advance()
    expect_kept(server.audit, scene.acknowledged)


def clock_step(scene: Scene) -> None:
    """The clock steps back one hour under load: ids still grow, and every record is found by its time."""
    server = scene.server(launcher=(*LAUNCHER, "orders"))
    for _ in range(scene.rounds):
        server.order()
        with server:
            with scene.load(server) as load:
                load.until_acknowledged(scene.some())
                server.order(clock_s=-_HOUR_S)
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
    """PostgreSQL goes away under load: the server answers UNAVAILABLE at once, and recovers alone when it is back."""
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
    """PostgreSQL goes away under load, and the server is killed before it is back.

    Only the kill makes calls fail. The spool drains without help.
    """
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
"""Each fault by name, with its rounds in a full run and in a short run."""


def healthy(server: ServerProcess) -> bool:
    with server.client() as client:
        return bool(client.status().audit.healthy)


def waiting(server: ServerProcess) -> int:
    """The number of records in the server's spool; 0 once the server no longer uses it."""
    with server.client() as client:
        spool = client.status().audit.spool
        return int(spool.records) or int(spool.spooling)


def _database(scene: Scene) -> Database:
    return OnServer(scene.postgresql) if scene.postgresql else OwnServer()


def _ask_again(scene: Scene, server: ServerProcess) -> set[bytes]:
    """Sends calls to a healthy server: none may fail. Adds the acknowledged decisions to the scene and returns them."""
    with scene.load(server) as load:
        load.until_acknowledged(scene.some())
        load.stop()
    expect(f"a call failed although all is well again: {load.failures}", holds=not load.failures)
    scene.acknowledged.update(load.acknowledged)
    return load.acknowledged


def _until_refused(scene: Scene, server: ServerProcess) -> set[bytes]:
    """Sends calls until the server refuses them. Returns the acknowledged decisions."""
    acknowledged: set[bytes] = set()
    while healthy(server):
        with scene.load(server) as load:
            load.until_acknowledged(sys.maxsize)  # until a call fails
            load.join()
        acknowledged |= load.acknowledged
    scene.acknowledged.update(acknowledged)
    return acknowledged


def _expect_in_time(server: ServerProcess, newest: bytes, later: set[bytes]) -> None:
    """Checks the ids and times of decisions that were acknowledged after the clock stepped back."""
    # A call in flight during the step may have got its id before the step.
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
