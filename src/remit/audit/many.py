"""The audit of several workers, read as one.

With SQLite each worker has a file of its own beside the one that the settings name: with `var/audit.db` worker 2 writes
`var/audit.w2.db`. A PostgreSQL database is everybody's.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from operator import add
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, Engine, make_url

from remit.audit.cutoff import Cutoffs
from remit.audit.database import joined_engine
from remit.audit.errors import AuditStoreError
from remit.audit.purge import Purged
from remit.audit.reading import Reading
from remit.audit.signing import SigningKey
from remit.audit.store import AuditStore


def worker_url(url: str, number: int) -> str:
    """The store that worker `number`, counted from 1, writes. Raises AuditStoreError as AuditStore does."""
    file = _file(url)
    if file is None:
        return url
    its = file.with_name(f"{file.stem}.w{number}{file.suffix}")
    return make_url(url).set(database=str(its)).render_as_string(hide_password=False)


def stores_of(url: str) -> list[AuditStore]:
    """The stores that the URL stands for, not opened: the named one, then those of workers in their order, as far as
    they exist. However many workers there are now, what earlier ones wrote belongs to it.

    Raises AuditStoreError as AuditStore does.
    """
    file = _file(url)
    if file is None:
        return [AuditStore(url)]
    is_worker_s = re.compile(rf"{re.escape(file.stem)}\.w([1-9][0-9]*){re.escape(file.suffix)}").fullmatch
    try:
        beside = [each.name for each in file.parent.iterdir()] if file.parent.is_dir() else []
        numbers = sorted(int(found[1]) for name in beside if (found := is_worker_s(name)))
        stores = [AuditStore(url), *(AuditStore(worker_url(url, number)) for number in numbers)]
        return [store for store in stores if not store.is_new()]
    except OSError as error:
        raise AuditStoreError(f"cannot look for audit databases in `{file.parent}`: {error.strerror}") from error


def migrate(url: str) -> None:
    """Brings each of `stores_of(url)` to the newest schema. Raises AuditStoreError."""
    for store in stores_of(url):
        with store:
            store.migrate()


class AuditStores(Reading):
    """The stores that a URL stands for, read as one; servers may go on writing to them, and workers may be added.

    Ids are unique over all of them; chains are each store's own.
    """

    def __init__(self, url: str) -> None:
        """Touches nothing yet. Raises AuditStoreError as AuditStore does."""
        self._named = url
        self._url = AuditStore(url).url
        self._mutex = Lock()
        self._members: tuple[AuditStore, ...] = tuple(stores_of(url))
        self._joined: Engine | None = None

    @property
    def url(self) -> str:
        return self._url

    @property
    def members(self) -> tuple[AuditStore, ...]:
        return self._members

    def is_new(self) -> bool:
        """Whether none of them exists yet."""
        return not self.members

    def open(self) -> Self:
        if self.is_new():
            raise AuditStoreError(f"the audit database `{self.url}` does not exist")
        for each in self.members:
            each.open()
        return self

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        members = self._present()
        if len(members) == 1:
            with members[0].reading() as connection:
                yield connection
            return
        with self._mutex:
            files = [each.file for each in members if each.file is not None]
            engine = self._joined = self._joined or joined_engine(files)
        with members[0].errors("read"), engine.connect() as connection:
            yield connection

    @contextmanager
    def snapshots(self) -> Iterator[list[Connection]]:
        """One moment of each."""
        with ExitStack() as stack:
            yield [stack.enter_context(each.snapshot()) for each in self.members]

    def purge(
        self,
        before: int | Cutoffs,
        *,
        tenant: str | None = None,
        key: SigningKey | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Purged:
        """One store after the other, each with a PURGED record of its own, in a chain that no other store has."""
        done = Purged()

        def told(of_this_store: int) -> None:
            if progress is not None:
                progress(done.deleted + of_this_store)

        for each in self.members:
            purged = each.purge(before, tenant=tenant, node=self._worker_of(each), key=key, progress=told)
            done = Purged._make(map(add, done, purged))
        return done

    def _worker_of(self, store: AuditStore) -> str:
        """`w2`; '' for the store that the URL names."""
        file, its = _file(self.url), _file(store.url)
        return "" if file is None or its is None else its.stem.removeprefix(file.stem).lstrip(".")

    def size_bytes(self) -> int:
        return sum(each.size_bytes() for each in self.members)

    def close(self) -> None:
        for each in self.members:
            each.close()
        if self._joined is not None:
            self._joined.dispose()

    def _present(self) -> tuple[AuditStore, ...]:
        """The stores as they are now: another worker's file may have come."""
        found = stores_of(self._named)
        with self._mutex:
            known = {each.url: each for each in self._members}
            if known.keys() != {each.url for each in found}:
                self._members = tuple(known.get(each.url) or each.open() for each in found)
                if self._joined is not None:
                    self._joined.dispose()
                self._joined = None
            return self._members

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _file(url: str) -> Path | None:
    """What a SQLite URL names; None for PostgreSQL. Raises AuditStoreError for a URL of no use."""
    return AuditStore(url).file
