"""The policy store: releases, and the changes of each tenant, in a database.

The module is long because all that takes the locks of the store is in one place.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final, NamedTuple, Self

from sqlalchemy import Connection, Engine, NullPool, insert, make_url, select, text, update
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, ProgrammingError, SQLAlchemyError

from remit.audit.chain.chain import Head
from remit.audit.chain.signing import SigningKey
from remit.audit.errors import AuditStoreError
from remit.audit.schema.engines import postgresql_engine, sqlite_engine, writing
from remit.core.names import Tenant
from remit.core.urls import masked
from remit.files import make_private, open_private
from remit.fleet.bindings import BindingChange, GrantedRow, RowKey
from remit.fleet.change import ChangeKind, body_of
from remit.fleet.errors import ForgedReleaseError, PolicyStoreAwayError, PolicyStoreError, PublishRefusedError
from remit.fleet.history import (
    Known,
    Pulled,
    folder_files,
    newest_release,
    pulled_since,
    release_at,
    release_in,
    seems_to_be,
)
from remit.fleet.node_report import KnownNode, NodeReport
from remit.fleet.release import FIRST, FORMAT, Release, SignedRelease
from remit.fleet.schema.migrate import require_newest, upgrade
from remit.fleet.schema.tables import bindings, folders, nodes, releases
from remit.fleet.trust import Trust
from remit.fleet.writes import (
    ABANDONED_S,
    TenantWrite,
    append_change,
    append_changes,
    apply_change,
    granted_rows,
    head_of,
    heads_of,
    notify,
    store_clock,
    store_us,
)
from remit.policy.read.tree import Folder, Tree
from remit.policy.revisions.archive import pack

_WHAT: Final = "the policy store"
_WITH_ROWS: Final = select(bindings.c.tenant).distinct()
_AT_ONCE: Final = 10_000
"""Digests in one statement: the databases limit them."""
_EXPECTED: Final = "`sqlite:///PATH` or `postgresql+psycopg://USER@HOST/DATABASE`"
# Any number works if every process that publishes uses the same.
_POSTGRESQL_LOCK: Final = 0x72656D6974707562
_NOT_ALLOWED: Final = "42501"
"""The SQLSTATE of PostgreSQL for a missing right."""
_IN_TRANSACTION: Final = 2
"""What libpq calls PQTRANS_INTRANS: psycopg comes with an extra."""


class Draft(NamedTuple):
    """What `publish` makes a release of."""

    tree: Tree
    publisher: str
    message: str = ""
    commit: str = ""
    repeats: int = 0
    """The earlier release whose files these are; 0 for none."""
    origin: str = ""
    """DIRECTORY, or '' for `remit publish`."""


class Reviewed(NamedTuple):
    """How the rows of run time of a tenant that are in force fit to the files of a release."""

    refusals: Sequence[str] = ()
    """Rows that would lead nowhere, or that the files open no more, and why."""
    adopted: tuple[RowKey, ...] = ()
    """Rows that the files have too, and that are rows of run time no more."""


Review = Callable[[Tenant, Sequence[GrantedRow]], Reviewed]


def _nothing_granted(tenant: Tenant, rows: Sequence[GrantedRow]) -> Reviewed:
    return Reviewed([f"{tenant}: {RowKey.of(row).text}: is not reviewed" for row, _ in rows])


class PolicyStore:
    """Releases and changes in a SQLite file or a PostgreSQL database. Thread-safe.

    Raises PolicyStoreError for every failure of the database, PolicyStoreAwayError if it cannot be reached. The store is
    usable again once the cause is gone. `timeout_s` is how long PostgreSQL may take to answer, and how long SQLite waits for
    another writer.
    """

    def __init__(self, url: str, *, timeout_s: float = 5.0, key: SigningKey | None = None) -> None:
        """Opens nothing yet. `key` signs changes of rows of run time. Raises PolicyStoreError if the URL is neither
        `sqlite:///FILE` nor PostgreSQL."""
        self._key = key
        try:
            parsed = make_url(url)
            self.url = masked(str(parsed))
            """Without its password."""
            self.file: Path | None = None
            """The SQLite file; None for PostgreSQL."""
            if parsed.get_backend_name() == "sqlite":
                if not parsed.database or parsed.database == ":memory:" or parsed.query:
                    raise PolicyStoreError(f"{_WHAT} needs a file: expected `sqlite:///PATH`, not `{self.url}`")
                self.file = Path(parsed.database)
                engine = sqlite_engine(parsed, max_bytes=None, busy_timeout_s=timeout_s, what=_WHAT, pool=NullPool)
            elif parsed.drivername == "postgresql+psycopg":
                engine = postgresql_engine(parsed, timeout_s=timeout_s, hurried=True, pooled=True, what=_WHAT)
            else:
                raise PolicyStoreError(f"`{parsed.drivername}` is no policy store: expected {_EXPECTED}")
        except (ArgumentError, ValueError) as error:
            # The message omits the URL: even a malformed one may contain a password.
            raise PolicyStoreError(f"the policy store's URL is malformed: expected {_EXPECTED}") from error
        except ModuleNotFoundError as error:
            raise PolicyStoreError(
                f"a policy store in PostgreSQL needs `{error.name}`: install remit with the extra `postgres` (docs/how-to/install.md)"
            ) from error
        self._engine: Engine = engine
        self._writing = writing(engine)

    @property
    def engine(self) -> Engine:
        """For connections that listen."""
        return self._engine

    def migrate(self) -> None:
        """Makes the tables, or brings them up to date, in one transaction. Only the owner can read a new SQLite file."""
        with self._errors("migrate"):
            if self.file is not None:
                make_private(self.file.absolute().parent)
                os.close(open_private(self.file))
            with self._writing.begin() as connection:
                upgrade(connection)

    def open(self) -> Self:
        """Raises PolicyStoreError if the schema is not the newest."""
        with self._errors("open"):
            if self.file is not None and not self.file.exists():
                raise PolicyStoreAwayError(
                    f"`{self.url}` does not exist: `remit publish` with `--migrate` makes a policy store"
                )
            with self._engine.connect() as connection:
                require_newest(connection)
        return self

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def newest(self) -> SignedRelease | None:
        """None if nothing was published yet."""
        with self.reading() as connection:
            return newest_release(connection)

    def release(self, seq: int) -> SignedRelease:
        """Raises PolicyStoreError if there is no such release, and ForgedReleaseError if its hash is wrong."""
        with self.reading() as connection:
            return release_at(connection, seq)

    def releases(self, most: int) -> list[SignedRelease]:
        """The newest ones, newest first."""
        with self.reading() as connection:
            return [
                release_in(row)
                for row in connection.execute(select(releases).order_by(releases.c.seq.desc()).limit(most))
            ]

    def folders(self, digests: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """The packed files of these digests, one at a time."""
        with self.reading() as connection:
            for digest in digests:
                found = connection.execute(
                    select(folders.c.content).where(folders.c.digest == digest)
                ).scalar_one_or_none()
                if found is None:
                    raise ForgedReleaseError(f"`{self.url}` does not hold the files `{digest}`, which a release names")
                yield digest, found

    def tree(self, release: Release, most_bytes: int) -> Tree:
        """The files of a release. `most_bytes` is the limit of each folder.

        Raises ForgedReleaseError if files are missing, damaged or not those that the release names.
        """
        wanted = dict(self.folders({release.root, *release.tenants.values()}))
        root = Folder("", folder_files("", wanted[release.root], release.root, most_bytes))
        tenants = {
            tenant: Folder(tenant, folder_files(tenant, wanted[digest], digest, most_bytes))
            for tenant, digest in sorted(release.tenants.items())
        }
        return Tree(root, tenants)

    def publish(
        self, draft: Draft, after: int, key: SigningKey | None = None, review: Review = _nothing_granted
    ) -> SignedRelease:
        """Commits a release, with the changes of all tenants whose files differ, in one transaction.

        `review` judges the rows of run time of each such tenant. Raises PublishRefusedError if it refuses any, if the newest
        release is not `after` (0 for none), or if a live node cannot read the release.
        """
        tree, last = draft.tree, self.newest()
        there = {last.release.root, *last.release.tenants.values()} if last is not None else set()
        packed = {
            each.digest: pack(each.files) for each in (tree.root, *tree.tenants.values()) if each.digest not in there
        }
        with self._transaction() as connection:
            _lock(connection)
            before = newest_release(connection)
            newest = before.release if before is not None else None
            if (newest.seq if newest is not None else 0) != after:
                assert newest is not None
                raise PublishRefusedError(
                    f"release {newest.seq} was published by {newest.publisher} after release {after}, on which this one is "
                    "based: take its changes over, and publish again"
                )
            _refuse_unreadable(connection)
            release = Release(
                seq=after + 1,
                previous=newest.hash if newest is not None else FIRST,
                root=tree.root.digest,
                tenants={tenant: folder.digest for tenant, folder in sorted(tree.tenants.items())},
                published_us=max(store_us(connection), newest.published_us + 1 if newest is not None else 0),
                publisher=draft.publisher,
                message=draft.message,
                commit=draft.commit,
                repeats=draft.repeats,
                origin=draft.origin,
            )
            signed = SignedRelease.of(release, key)
            stored: set[str] = set()
            for start in range(0, len(packed), _AT_ONCE):
                some = folders.c.digest.in_([*packed][start : start + _AT_ONCE])
                stored.update(connection.execute(select(folders.c.digest).where(some)).scalars())
            new = [{"digest": digest, "content": content} for digest, content in packed.items() if digest not in stored]
            if new:
                connection.execute(insert(folders), new)
            row = {"seq": release.seq, "hash": release.hash, "format": FORMAT, "body": release.text}
            connection.execute(insert(releases).values(**row, key_id=signed.key_id, signature=signed.signature))
            differing = list(_differing(newest, release, tree))
            adopted = _reviewed(connection, [tenant for tenant, *_ in differing], review)
            bodies = {tenant: (kind, body_of(**members)) for tenant, kind, members in differing}
            append_changes(connection, release.published_us, draft.publisher, bodies)
            for tenant, keys in adopted.items():
                taken = BindingChange((), keys, reason=f"release {release.seq} has these rows in its files")
                head = append_change(
                    connection, tenant, release.published_us, ChangeKind.BINDINGS, draft.publisher, taken.body, key=key
                )
                apply_change(connection, tenant, taken, head.seq)
            notify(connection)
        return signed

    def pull(self, known: Known, trust: Trust = Trust(), *, glance: bool = False) -> Pulled | None:  # noqa: B008 (it is immutable)
        """What is newer than `known`; None if nothing is. `trust` says which signatures it must have. A `glance` does not read
        the heads of all tenants if there are as many changes as are known.

        If the store's history is not the one of `known`, everything is read again, and `fork` says how they differ. Raises
        ForgedReleaseError if a chain is broken or a signature is missing.
        """
        with self._statements("read") as connection:
            return None if glance and seems_to_be(connection, known) else pulled_since(connection, known, trust)

    def bindings(self, tenant: Tenant) -> tuple[Head, list[GrantedRow]]:
        """The rows of run time of a tenant, expired ones too, and the change up to which they count."""
        with self.reading() as connection:
            return head_of(connection, tenant), granted_rows(connection, tenant)

    @contextmanager
    def changing(self, tenant: Tenant) -> Iterator[TenantWrite]:
        """One change of a tenant's rows of run time. Nobody else changes the tenant meanwhile. Nothing is written unless
        the block calls `commit`."""
        with self._transaction() as connection:
            yield TenantWrite(connection, tenant, self._key)

    def beat(self, report: NodeReport) -> bool:
        """Stores the report of a node. Returns whether another server reports under its name too. Raises PolicyStoreError if
        the login may not report for it."""
        # SQLite must lock before it reads what it writes.
        with self._transaction() if self.file is not None else self._statements("write to") as connection:
            now = store_clock(connection)
            row = connection.execute(
                select(nodes, now.label("now_us")).where(nodes.c.node == report.node)
            ).one_or_none()
            before = KnownNode.of(row, row.now_us) if row is not None else None
            fields = report.columns | {"seen_us": now, "stopped_us": now if report.stopped else 0}
            try:
                # A report that the login may not write counts as absent here.
                if not connection.execute(update(nodes).where(nodes.c.node == report.node).values(**fields)).rowcount:
                    connection.execute(insert(nodes).values(node=report.node, **fields))
            except ProgrammingError as error:
                if getattr(error.orig, "sqlstate", "") != _NOT_ALLOWED:
                    raise
                raise PolicyStoreError(
                    f"the login of `{self.url}` may not report for node `{report.node}`: by deploy/policy-store-roles.sql it "
                    "reports for the node of its own name, and for nodes whose names go on with a hyphen"
                ) from error
        return before is not None and before.is_live and before.instance != report.instance

    def nodes(self) -> list[KnownNode]:
        """The nodes that ever reported, by name."""
        with self._statements("read") as connection:
            rows = connection.execute(select(nodes, store_clock(connection).label("now_us")).order_by(nodes.c.node))
            return [KnownNode.of(row, row.now_us) for row in rows]

    def forget(self, node: str) -> bool:
        """Removes the report of a node that is gone for good. False if there is none."""
        with self._transaction() as connection:
            return bool(connection.execute(nodes.delete().where(nodes.c.node == node)).rowcount)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A snapshot of the whole store."""
        with self._errors("read"), self._engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                yield connection

    @contextmanager
    def _statements(self, doing: str) -> Iterator[Connection]:
        """Each statement for itself: every idle node asks all the time, and a transaction would only add statements."""
        with self._errors(doing), self._engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._errors("write to"), self._writing.begin() as connection, _alive(connection):
            yield connection

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        where = f"{_WHAT} `{self.url}`"
        try:
            yield
        except DBAPIError as error:
            kind = PolicyStoreAwayError if isinstance(error, OperationalError) else PolicyStoreError
            raise kind(f"cannot {doing} {where}: {error.orig}") from error
        except OSError as error:
            raise PolicyStoreError(f"cannot {doing} {where}: `{error.filename}`: {error.strerror}") from error
        except (SQLAlchemyError, AuditStoreError) as error:
            raise PolicyStoreError(f"cannot {doing} {where}: {error}") from error


@contextmanager
def _alive(connection: Connection) -> Iterator[None]:
    """While the block computes, PostgreSQL hears that this process has not stopped."""
    if connection.dialect.name != "postgresql":
        yield
        return
    driver: Any = connection.connection.dbapi_connection
    ended = Event()

    def beat() -> None:
        while not ended.wait(ABANDONED_S / 4):
            with driver.lock:
                # Neither in the middle of a statement nor of a COPY.
                if driver.pgconn.transaction_status == _IN_TRANSACTION:
                    driver.pgconn.exec_(b"SELECT 1")

    beating = Thread(target=beat, name="remit-alive", daemon=True)
    beating.start()
    try:
        yield
    finally:
        ended.set()
        beating.join()


def _lock(connection: Connection) -> None:
    """One publisher at a time. SQLite's write transactions come one after another anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRESQL_LOCK})


def _reviewed(connection: Connection, tenants: Iterable[Tenant], review: Review) -> dict[Tenant, tuple[RowKey, ...]]:
    """The rows that the files adopt, by tenant. Raises PublishRefusedError with all refusals."""
    refusals: list[str] = []
    adopted: dict[Tenant, tuple[RowKey, ...]] = {}
    names = {*tenants}
    heads_of(connection, names, locked=True)
    now = store_us(connection)
    for tenant in sorted(names.intersection(connection.execute(_WITH_ROWS).scalars())):
        rows = [each for each in granted_rows(connection, tenant) if each.row.counts(now)]
        if rows:
            reviewed = review(tenant, rows)
            refusals += reviewed.refusals
            if reviewed.adopted:
                adopted[tenant] = reviewed.adopted
    if refusals:
        raise PublishRefusedError("rows of run time stand against this release:\n" + "\n".join(refusals))
    return adopted


def _refuse_unreadable(connection: Connection) -> None:
    now = store_us(connection)
    live = [node for row in connection.execute(select(nodes)) if (node := KnownNode.of(row, now)).is_live]
    old = [f"`{node.node}` (remit {node.version})" for node in live if FORMAT not in node.formats]
    if old:
        raise PublishRefusedError(
            f"these nodes cannot read releases of format {FORMAT}: {', '.join(old)}; bring them up to date, or stop them"
        )


def _differing(
    before: Release | None, after: Release, tree: Tree
) -> Iterator[tuple[Tenant, ChangeKind, Mapping[str, Any]]]:
    """The tenants whose files differ. The root's files are every tenant's."""
    about = {"release": after.seq, "hash": after.hash}
    old = before.tenants if before is not None else {}
    same_root = before is not None and before.root == after.root
    for tenant, digest in sorted(after.tenants.items()):
        if not (same_root and old.get(tenant) == digest):
            yield tenant, ChangeKind.RELEASE, {**about, "revision": tree.revision(tenant)}
    for tenant in sorted(old.keys() - after.tenants.keys()):
        yield tenant, ChangeKind.REMOVED, {**about, "revision": ""}
