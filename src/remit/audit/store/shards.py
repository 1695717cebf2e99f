"""The shards of several workers, read as one audit store.

With SQLite each worker has its own file beside the one that the settings name: with `var/audit.db`, worker 2 writes
`var/audit.w2.db`. All workers share a PostgreSQL database.
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

from remit.audit.chain.chain import LIFECYCLE
from remit.audit.chain.signing import SigningKey
from remit.audit.errors import AuditStoreError
from remit.audit.query.reader import AuditReader
from remit.audit.retention.cutoffs import Cutoffs
from remit.audit.retention.purge import Purged
from remit.audit.schema.engines import joined_engine
from remit.audit.store import checkpoints
from remit.audit.store.store import AuditStore


def worker_file(file: Path, number: int) -> Path:
    """The file of worker `number`, counted from 1, beside the file that the settings name."""
    return file.with_name(f"{file.stem}.w{number}{file.suffix}")


def files_of(file: Path) -> dict[int, Path]:
    """The files of a store that exist and are not empty: the named file as 0, then the workers' files by number.

    Files of earlier workers belong to the store, however many workers there are now. Raises OSError.
    """
    is_worker_s = re.compile(rf"{re.escape(file.stem)}\.w([1-9][0-9]*){re.escape(file.suffix)}").fullmatch
    beside = [each.name for each in file.parent.iterdir()] if file.parent.is_dir() else []
    numbers = sorted(int(found[1]) for name in beside if (found := is_worker_s(name)))
    files = {0: file, **{number: worker_file(file, number) for number in numbers}}
    return {number: its for number, its in files.items() if its.exists() and its.stat().st_size > 0}


def worker_url(url: str, number: int) -> str:
    """The URL of the store that worker `number` writes. Raises AuditStoreError as AuditStore does."""
    file = AuditStore(url).file
    return url if file is None else _at(url, worker_file(file, number))


def stores_of(url: str) -> list[AuditStore]:
    """The stores of a URL, not opened: one for each file of `files_of`, or one for PostgreSQL.

    Raises AuditStoreError as AuditStore does.
    """
    return [*_numbered(url).values()]


def unattended(url: str, workers: int) -> dict[str, AuditStore]:
    """The stores of `stores_of` that none of this many workers writes (or no single server, if `workers` is 1).

    The keys are the names of their purges, for example `w3`, and '' for the store that the URL names.
    """
    if AuditStore(url).file is None:
        return {}
    written = {0} if workers == 1 else {*range(1, workers + 1)}
    return {_name(number): store for number, store in _numbered(url).items() if number not in written}


def migrate(url: str) -> None:
    """Migrates each of `stores_of(url)` to the newest schema. Raises AuditStoreError."""
    for store in stores_of(url):
        with store:
            store.migrate()


class ShardedStore(AuditReader):
    """The stores of a URL, read as one. Servers may keep writing to them, and workers may be added.

    Ids are unique over all stores. Each store has its own chains.
    """

    def __init__(self, url: str, *, readonly: bool = False) -> None:
        """Opens nothing yet. Raises AuditStoreError as AuditStore does. `readonly` is as for AuditStore."""
        self._named = url
        self._readonly = readonly
        self._url, self._file = AuditStore(url).url, AuditStore(url).file
        self._mutex = Lock()
        self._members = _numbered(url, readonly=readonly)
        self._joined: Engine | None = None

    @property
    def url(self) -> str:
        return self._url

    @property
    def members(self) -> tuple[AuditStore, ...]:
        return tuple(self._members.values())

    def is_new(self) -> bool:
        """Whether none of the stores exists yet."""
        return not self.members

    def open(self, *, as_evidence: bool = False) -> Self:
        """Opens every store, as `AuditStore.open` or `open_as_evidence` does."""
        if self.is_new():
            raise AuditStoreError(f"the audit database `{self.url}` does not exist")
        for each in self.members:
            each.open_as_evidence() if as_evidence else each.open()
        return self

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        members = self._present()
        if not members:
            raise AuditStoreError(f"the audit database `{self.url}` does not exist any more")
        if len(members) == 1:
            with members[0].reading() as connection:
                yield connection
            return
        with self._mutex:
            files = [each.file for each in members if each.file is not None]
            engine = self._joined = self._joined or joined_engine(files, readonly=self._readonly)
        with members[0].errors("read"), engine.connect() as connection:
            yield connection

    @contextmanager
    def snapshots(self) -> Iterator[list[Connection]]:
        with ExitStack() as stack:
            yield [stack.enter_context(each.snapshot()) for each in self.members]

    def older(self, cutoffs: Cutoffs) -> int:
        return sum(each.older(cutoffs) for each in self.members)

    def signers(self) -> set[str]:
        return {key_id for each in self.members for key_id in checkpoints.signers(each)}

    def purge(
        self,
        before: int | Cutoffs,
        *,
        tenant: str | None = None,
        key: SigningKey | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Purged:
        """Purges one store after the other. Each store gets a PURGED record.

        That record is in a chain that no other store has and no server signs; `key` signs it too.
        """
        done = Purged()

        def report(of_this_store: int) -> None:
            if progress is not None:
                progress(done.deleted + of_this_store)

        for number, each in self._members.items():
            node = _name(number)
            purged = each.purge(before, tenant=tenant, node=node, key=key, progress=report)
            if key is not None:
                heads = checkpoints.heads(each)
                checkpoints.sign(each, key, [(chain, head) for chain, head in heads if chain[::2] == (LIFECYCLE, node)])
            done = Purged._make(map(add, done, purged))
        return done

    def size_bytes(self) -> int:
        return sum(each.size_bytes() for each in self.members)

    def close(self) -> None:
        for each in self.members:
            each.close()
        if self._joined is not None:
            self._joined.dispose()

    def _present(self) -> tuple[AuditStore, ...]:
        """The stores that exist now. Another worker's file may have appeared."""
        if self._file is None:
            return self.members
        with self._mutex:
            known, found = self._members, _files(self._file)
            if known.keys() != found.keys():
                self._members = {
                    number: known.get(number) or AuditStore(_at(self._named, its), readonly=self._readonly).open()
                    for number, its in found.items()
                }
                if self._joined is not None:
                    self._joined.dispose()
                self._joined = None
            return self.members

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _numbered(url: str, *, readonly: bool = False) -> dict[int, AuditStore]:
    store = AuditStore(url, readonly=readonly)
    if store.file is None:
        return {0: store}
    return {number: AuditStore(_at(url, its), readonly=readonly) for number, its in _files(store.file).items()}


def _files(file: Path) -> dict[int, Path]:
    try:
        return files_of(file)
    except OSError as error:
        raise AuditStoreError(f"cannot look for audit databases in `{file.parent}`: {error.strerror}") from error


def _at(url: str, file: Path) -> str:
    return make_url(url).set(database=str(file)).render_as_string(hide_password=False)


def _name(number: int) -> str:
    return f"w{number}" if number else ""
