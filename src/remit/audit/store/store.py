import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, delete, func, insert, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, SQLAlchemyError

from remit.audit.append.appender import Appender
from remit.audit.append.chain_heads import KnownHeads
from remit.audit.chain.signing import SigningKey
from remit.audit.errors import AuditStoreError, StoreAwayError, StoreChangedError
from remit.audit.ids import DecisionIds, last_id_at
from remit.audit.query.filter import CLOCK_SLACK_US
from remit.audit.query.reader import AuditReader
from remit.audit.record import ArchivedRevision, DecisionRecord, LifecycleRecord
from remit.audit.retention.cutoffs import Cutoffs
from remit.audit.retention.purge import BY_HAND, Purge, Purged, PurgePacing
from remit.audit.schema import migrate as migrate_
from remit.audit.schema.engines import postgresql_engine, sqlite_engine, sqlite_reading_engine, writing
from remit.audit.schema.open_files import OpenFiles
from remit.audit.schema.tables import decisions, lifecycle, metadata, probe
from remit.core.urls import masked
from remit.files import make_private, open_private

_PROBE_BYTES = 64 * 1024
_PAGE = 1000
_EXPECTED = "`sqlite:///PATH` or `postgresql+psycopg://USER@HOST/DATABASE`"


class AuditStore(AuditReader):
    """Records in a SQLite file or a PostgreSQL database. Thread-safe.

    The store stops writing (StoreChangedError) once its file, or a chain that it wrote, has changed. Several processes
    may use one database. `busy_timeout_s` is how long SQLite waits for another transaction, and how long a PostgreSQL
    server may take to answer a write; without an answer the outcome is unknown. `max_bytes` limits the size to which
    this process lets a SQLite file grow, without its write-ahead log. Raises AuditStoreError for every failure of the
    database; the store is usable again once the cause is gone.
    """

    def __init__(
        self, url: str, *, max_bytes: int | None = None, busy_timeout_s: float = 5.0, readonly: bool = False
    ) -> None:
        """Opens nothing yet. Raises AuditStoreError if the URL is neither `sqlite:///FILE` nor PostgreSQL.

        With `readonly`, a SQLite file is only read and stays unchanged. It may be in a folder without write access.
        """
        try:
            parsed = make_url(url)
            self._url = masked(str(parsed))
            backend = parsed.get_backend_name()
            self._file: Path | None = None
            self._files: OpenFiles | None = None
            if backend == "sqlite":
                if not parsed.database or parsed.database == ":memory:" or parsed.query:
                    raise AuditStoreError(f"the audit store needs a file: expected `sqlite:///PATH`, not `{self._url}`")
                self._file = Path(parsed.database)
                if readonly:
                    engine = hurried = sqlite_reading_engine(parsed, busy_timeout_s=busy_timeout_s)
                else:
                    files = self._files = OpenFiles("the audit database", self._file)
                    engine = hurried = sqlite_engine(
                        parsed, max_bytes=max_bytes, busy_timeout_s=busy_timeout_s, opened=files.check
                    )
            elif parsed.drivername == "postgresql+psycopg":
                if max_bytes is not None:
                    raise AuditStoreError("a size limit works with SQLite only: use PostgreSQL's own limits")
                engine = postgresql_engine(parsed, timeout_s=busy_timeout_s)
                hurried = postgresql_engine(parsed, timeout_s=busy_timeout_s, hurried=True)
            else:
                raise AuditStoreError(f"`{parsed.drivername}` is no audit store: expected {_EXPECTED}")
        except (ArgumentError, ValueError) as error:
            # The message omits the URL: even a malformed one may contain a password.
            raise AuditStoreError(f"the audit store's URL is malformed: expected {_EXPECTED}") from error
        except ModuleNotFoundError as error:
            raise AuditStoreError(
                f"an audit store in PostgreSQL needs `{error.name}`: install remit with the extra `postgres` (docs/how-to/install.md)"
            ) from error
        except (SQLAlchemyError, ImportError) as error:
            raise AuditStoreError(f"the audit store's URL cannot be used: {error}") from error
        self._reading = engine
        self._driver_error: type[Exception] = engine.dialect.loaded_dbapi.Error
        self._writing = writing(engine)
        # The same database, with a timeout for a server that does not answer.
        self._briefly = hurried
        self._hurried = writing(hurried)
        self._writer: Appender | None = None
        self._writer_lock = Lock()
        self._heads = KnownHeads()
        self._changed = ""
        self._ids = DecisionIds()

    @property
    def url(self) -> str:
        """The URL without its password."""
        return self._url

    @property
    def file(self) -> Path | None:
        """The SQLite file. None for PostgreSQL."""
        return self._file

    def is_new(self) -> bool:
        """Whether the SQLite file does not exist yet or is empty. Always False for PostgreSQL."""
        return self._file is not None and not (self._file.exists() and self._file.stat().st_size > 0)

    def is_empty(self) -> bool:
        """Whether there is no audit in it: no SQLite file, or a database without its tables."""
        if self._file is not None:
            return self.is_new()
        with self.errors("open"), self._briefly.connect() as connection:
            return migrate_.current_version(connection) is None

    def migrate(self) -> None:
        """Migrates the schema to the newest version, in one transaction. Only the owner can read a new SQLite file."""
        with self.errors("migrate"):
            if self._file is not None:
                self._refuse_left_log(self._file)
                make_private(self._file.parent)
                os.close(open_private(self._file))
            with self._writing.begin() as connection:
                migrate_.upgrade(connection)

    def open(self) -> Self:
        """Opens the store.

        Raises UnmigratedError if the schema is not the newest, StoreAwayError if the database cannot be reached, and
        AuditStoreError if a commit would not be durable or the schema is not remit's.
        """
        with self._opened() as connection:
            migrate_.require_newest(connection)
        return self

    def open_as_evidence(self) -> Self:
        """Opens the store for verification, as `open` does, also if the schema is not remit's."""
        with self._opened() as connection:
            migrate_.require_version(connection)
        return self

    def append(
        self,
        records: Sequence[DecisionRecord],
        happened: Sequence[LifecycleRecord] = (),
        unrecorded: Sequence[DecisionRecord] = (),
        revisions: Sequence[ArchivedRevision] = (),
    ) -> None:
        """Writes records in one transaction, durable on return.

        Raises RecordRefused if an id is a duplicate or a value fits no column. The store gives each record its position
        in its chain. `unrecorded` are decisions that are counted and not stored. Files of a revision that are stored
        already stay as they are.
        """
        with self._writer_lock:
            if self._writer is None:
                with self.errors("write to"):
                    self._require_unchanged()
                    self._writer = Appender(self._hurried, self._heads, self._files)
            try:
                self._refuse_if_changed()
                self._writer.append(records, happened, unrecorded, revisions)
                if self._files is not None:
                    # After the commit: if the file is deleted during the commit, no answer may depend on it.
                    self._files.check()
            except StoreChangedError as error:
                self._changed = self._changed or str(error)
                raise
            finally:
                if self._writer.broken:
                    self._writer.discard()
                    self._writer = None
                    self._release_log()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        with self.errors("read"), self._reading.connect() as connection:
            yield connection

    def known(self, ids: Sequence[bytes]) -> set[bytes]:
        """The ids among these that have a record of either kind."""
        found: set[bytes] = set()
        with self.errors("read"), self._briefly.connect() as connection:
            for start in range(0, len(ids), _PAGE):
                some = ids[start : start + _PAGE]
                for table in (decisions, lifecycle):
                    found.update(connection.execute(select(table.c.id).where(table.c.id.in_(some))).scalars())
        return found

    @contextmanager
    def snapshot(self, *, briefly: bool = False) -> Iterator[Connection]:
        """A snapshot of the whole store, for a read of any length. It does not include later writes.

        With `briefly`, reading has the same PostgreSQL timeout as writing records.
        """
        with self.errors("read"), (self._briefly if briefly else self._reading).connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                yield connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One write transaction: durable at the end, or nothing is written.

        Keep it short: on SQLite no record is written meanwhile.
        """
        with self.errors("write to"):
            self._require_unchanged()
            with self._hurried.begin() as connection:
                migrate_.refuse_planted(connection)
                yield connection
            self._require_unchanged()

    def purge(
        self,
        before: int | Cutoffs,
        *,
        tenant: str | None = None,
        node: str = "",
        key: SigningKey | None = None,
        pacing: PurgePacing = BY_HAND,
        by_hand: bool = True,
        progress: Callable[[int], None] | None = None,
    ) -> Purged:
        """Deletes decisions and read records (who read the audit) before that time, or before each tenant's cutoff.

        With `tenant`, deletes only that tenant's. `progress` receives the number of deleted records after each
        transaction.

        A purge deletes a prefix of each chain: an older record that follows a newer one in its chain stays. A PURGED
        record says who purged, what, and how many records, even if the purge stops early. Other lifecycle records stay.
        A SQLite file does not shrink: its free pages are used before it grows again.
        """
        if isinstance(before, int):
            before = Cutoffs(others=before) if tenant is None else Cutoffs(of_tenant={tenant: before})
        purge = Purge(
            reading=self._reading,
            writing=self._writing,
            ids=self._ids,
            cutoffs=before,
            node=node,
            key=key,
            pacing=pacing,
            by_hand=by_hand,
            progress=progress,
        )
        with self.errors("purge"):
            self._require_unchanged()
            with self._reading.connect() as connection:
                migrate_.refuse_planted(connection)
            return purge.run()

    def older(self, cutoffs: Cutoffs) -> int:
        """The number of decisions older than the cutoffs. Some stay: those after a newer one in their chain."""
        columns = decisions.c
        old = (
            cutoffs.older(columns.tenant, columns.time_us),
            columns.id <= last_id_at(cutoffs.latest_us + CLOCK_SLACK_US),
        )
        with self.reading() as connection:
            return connection.execute(select(func.count()).select_from(decisions).where(*old)).scalar_one()

    def check(self) -> None:
        """Raises StoreChangedError if the store's file or chains have changed."""
        self._require_unchanged()

    def probe(self) -> None:
        """Writes 64 KiB durably and deletes them. Fails if the next batch of records would, also on a full disk."""
        row = {"id": self._ids.next(), "filler": os.urandom(_PROBE_BYTES)}
        with self.transaction() as connection:
            connection.execute(insert(probe).values(row))
        with self.transaction() as connection:
            connection.execute(delete(probe))

    def size_bytes(self) -> int:
        """The size of the SQLite file and its write-ahead log, or of PostgreSQL's tables with their indexes."""
        with self.errors("measure"):
            if self._file is not None:
                log = self._file.with_name(self._file.name + "-wal")
                return self._file.stat().st_size + (log.stat().st_size if log.exists() else 0)
            with self._briefly.connect() as connection:
                sizes = [func.pg_total_relation_size(name) for name in metadata.tables]
                return sum(connection.execute(select(*sizes)).one())

    def free_bytes(self) -> int | None:
        """Room for records in a SQLite file: unused pages and free disk, within the size cap. None for PostgreSQL."""
        if self._file is None:
            return None
        with self.errors("measure"), self._reading.connect() as connection:
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
            self._release_log()
        self._reading.dispose()
        self._briefly.dispose()

    @contextmanager
    def _opened(self) -> Iterator[Connection]:
        if self.is_new():
            raise AuditStoreError(f"the audit database `{self._url}` does not exist")
        with self.errors("open"):
            if self._files is not None:
                self._files.hold()
            with self._reading.connect() as connection:
                yield connection

    def _require_unchanged(self) -> None:
        """Raises StoreChangedError, and from then on always, if the store has changed."""
        self._refuse_if_changed()
        try:
            if self._files is not None:
                self._files.check()
        except StoreChangedError as error:
            self._changed = str(error)
            raise

    def _release_log(self) -> None:
        if self._files is not None:
            self._files.release_log()

    def _refuse_if_changed(self) -> None:
        if self._changed:
            raise StoreChangedError(self._changed)

    @staticmethod
    def _refuse_left_log(file: Path) -> None:
        """Refuses a write-ahead log that has no database file.

        SQLite empties a log that it finds beside a new file. That log may hold all that is left of an audit.
        """
        log = file.with_name(f"{file.name}-wal")
        if log.exists() and log.stat().st_size and not (file.exists() and file.stat().st_size):
            raise AuditStoreError(
                f"`{log}` belongs to an audit database that does not exist: put `{file}` back beside it, or move it away first"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            kind = StoreAwayError if isinstance(error, OperationalError) else AuditStoreError
            raise kind(f"cannot {doing} the audit database `{self._url}`: {error.orig}") from error
        except OSError as error:
            raise AuditStoreError(
                f"cannot {doing} the audit database `{self._url}`: `{error.filename}`: {error.strerror}"
            ) from error
        except (SQLAlchemyError, self._driver_error) as error:
            raise AuditStoreError(f"cannot {doing} the audit database `{self._url}`: {error}") from error
