import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from alembic.util.exc import CommandError
from sqlalchemy import Connection, delete, func, insert, make_url, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from remit.audit import schema
from remit.audit.database import postgresql_engine, sqlite_engine, writing
from remit.audit.errors import AuditStoreError
from remit.audit.filter import DecisionFilter
from remit.audit.ids import DecisionIds
from remit.audit.purge import Purge
from remit.audit.reading import Reading
from remit.audit.record import DecisionRecord, LifecycleRecord
from remit.audit.revisions import keep_revision
from remit.audit.tables import decisions, lifecycle, probe
from remit.audit.writer import Writer

_PROBE_BYTES = 64 * 1024


class AuditStore(Reading):
    """Records at rest, in a SQLite file or a PostgreSQL database. Safe to share among threads.

    Several processes may use one database: SQLite waits up to `busy_timeout_s` for another's transaction.
    `max_bytes` caps what this process lets a SQLite file grow to (its write-ahead log not counted).
    Every failure of the database is an AuditStoreError; the store can be used again once its cause is gone.
    """

    def __init__(self, url: str, *, max_bytes: int | None = None, busy_timeout_s: float = 5.0) -> None:
        """Touches nothing yet. AuditStoreError for a URL that is neither `sqlite:///FILE` nor PostgreSQL."""
        try:
            parsed = make_url(url)
            backend = parsed.get_backend_name()
            self._file: Path | None = None
            if backend == "sqlite":
                if not parsed.database or parsed.database == ":memory:" or parsed.query:
                    raise AuditStoreError(f"the audit store needs a file: expected `sqlite:///PATH`, not `{parsed}`")
                self._file = Path(parsed.database)
                engine = sqlite_engine(parsed, max_bytes=max_bytes, busy_timeout_s=busy_timeout_s)
            elif parsed.drivername == "postgresql+psycopg":
                if max_bytes is not None:
                    raise AuditStoreError("a size cap holds for SQLite only: PostgreSQL has its own means")
                engine = postgresql_engine(parsed)
            else:
                raise AuditStoreError(
                    f"`{parsed.drivername}` is no audit store: expected `sqlite:///PATH` "
                    "or `postgresql+psycopg://USER@HOST/DATABASE`"
                )
        except (SQLAlchemyError, ImportError) as error:
            raise AuditStoreError(f"the audit store's URL is of no use: {error}") from error
        self._url = parsed.render_as_string()
        self._reading = engine
        self._driver_error: type[Exception] = engine.dialect.loaded_dbapi.Error
        self._writing = writing(engine)
        self._writer: Writer | None = None
        self._writer_lock = Lock()
        self._ids = DecisionIds()

    @property
    def url(self) -> str:
        """Without its password."""
        return self._url

    def is_new(self) -> bool:
        """Whether the SQLite file does not exist yet (or is empty); always False for PostgreSQL."""
        return self._file is not None and not (self._file.exists() and self._file.stat().st_size > 0)

    def migrate(self) -> None:
        """Brings the schema to the newest version, in one transaction; a new SQLite file is its owner's only."""
        with self._errors("migrate"):
            if self._file is not None:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                os.close(os.open(self._file, os.O_CREAT | os.O_RDWR, 0o600))
            with self._writing.begin() as connection:
                schema.upgrade(connection)

    def open(self) -> Self:
        """UnmigratedError where the schema is not the newest; AuditStoreError where a commit would not be durable."""
        if self.is_new():
            raise AuditStoreError(f"the audit database `{self._url}` does not exist")
        with self._errors("open"), self._reading.connect() as connection:
            schema.require_newest(connection)
        return self

    def append(
        self,
        records: Sequence[DecisionRecord],
        happened: Sequence[LifecycleRecord] = (),
        unrecorded: Sequence[DecisionRecord] = (),
    ) -> None:
        """One transaction, durable on return. RecordRefused for a duplicate id or a value no column can hold.

        The store gives each record its place in its chain. `unrecorded` are decisions that are counted and not kept.
        """
        with self._writer_lock:
            if self._writer is None:
                with self._errors("write to"):
                    self._writer = Writer(self._writing)
            try:
                self._writer.append(records, happened, unrecorded)
            finally:
                if self._writer.broken:
                    self._writer.discard()
                    self._writer = None

    def keep_revision(self, tenant: str, revision: str, kept_us: int, archive: bytes) -> None:
        """Keeps the files of a revision of a tenant, durable on return. Once kept, they stay as they are."""
        with self._errors("write to"), self._writing.begin() as connection:
            keep_revision(connection, tenant, revision, kept_us, archive)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        with self._errors("read"), self._reading.connect() as connection:
            yield connection

    def purge(
        self,
        before_us: int,
        *,
        tenant: str | None = None,
        node: str = "",
        rows_per_transaction: int = 500,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Deletes the decisions of before that time (of that tenant), and tells how many; `progress` hears of each
        transaction. A PURGED record says who, what and how many, also where the purge breaks off.

        Lifecycle records stay. A SQLite file does not shrink: its free pages are filled before it grows again.
        """
        time_us, (record_id,) = self._ids.stamp()
        purge = Purge(
            reading=self._reading,
            writing=self._writing,
            where=DecisionFilter(tenant=tenant, until_us=before_us),
            record=LifecycleRecord(record_id, time_us, node, "PURGED", tenant or "", "", ""),
            rows_per_transaction=rows_per_transaction,
            progress=progress,
        )
        with self._errors("purge"):
            return purge.run()

    def probe(self) -> None:
        """Writes 64 KiB durably and removes them: fails where the next batch of records would, on a full disk too."""
        row = {"id": self._ids.next(), "filler": os.urandom(_PROBE_BYTES)}
        with self._errors("write to"):
            with self._writing.begin() as connection:
                connection.execute(insert(probe).values(row))
            with self._writing.begin() as connection:
                connection.execute(delete(probe))

    def size_bytes(self) -> int:
        """What the store takes: the SQLite file and its write-ahead log, or PostgreSQL's tables with their indexes."""
        with self._errors("measure"):
            if self._file is not None:
                log = self._file.with_name(self._file.name + "-wal")
                return self._file.stat().st_size + (log.stat().st_size if log.exists() else 0)
            with self._reading.connect() as connection:
                tables = (decisions, lifecycle, probe)
                sizes = [func.pg_total_relation_size(table.name) for table in tables]
                return sum(connection.execute(select(*sizes)).one())

    def free_bytes(self) -> int | None:
        """Room for more records, in a SQLite file: unused pages and free disk, within the cap. None for PostgreSQL."""
        if self._file is None:
            return None
        with self._errors("measure"), self._reading.connect() as connection:
            page, free, pages, most = (
                int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
                for name in ("page_size", "freelist_count", "page_count", "max_page_count")
            )
            disk = shutil.disk_usage(self._file.parent).free
            return page * free + min(disk, page * (most - pages))

    def close(self) -> None:
        with self._writer_lock:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
        self._reading.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise AuditStoreError(f"cannot {doing} the audit database `{self._url}`: {error.orig}") from error
        except (SQLAlchemyError, CommandError, OSError, self._driver_error) as error:
            raise AuditStoreError(f"cannot {doing} the audit database `{self._url}`: {error}") from error
