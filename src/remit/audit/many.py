"""The audit of several workers, read as one.

With SQLite each worker has a file of its own beside the one that the settings name: with `var/audit.db` worker 2 writes
`var/audit.w2.db`. A PostgreSQL database is everybody's.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from heapq import merge
from itertools import islice
from operator import add, itemgetter
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from sqlalchemy import Connection, make_url

from remit.audit.cutoff import Cutoffs
from remit.audit.errors import AuditStoreError
from remit.audit.filter import DecisionFilter
from remit.audit.purge import Purged
from remit.audit.record import DecisionRecord, LifecycleRecord
from remit.audit.signing import SigningKey
from remit.audit.store import AuditStore

_EVERYTHING: Final = DecisionFilter()
_id: Final = itemgetter(0)

_Record = TypeVar("_Record", DecisionRecord, LifecycleRecord)


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


class AuditStores:
    """The stores that a URL stands for, read as one in the order of ids; servers may go on writing to them.

    What AuditStore says of its methods holds. Ids are unique over all of them; chains are each store's own.
    """

    def __init__(self, url: str) -> None:
        """Touches nothing yet. Raises AuditStoreError as AuditStore does."""
        self.url: Final = AuditStore(url).url
        self.members: Final = tuple(stores_of(url))

    def is_new(self) -> bool:
        """Whether none of them exists yet."""
        return not self.members

    def open(self) -> Self:
        if self.is_new():
            raise AuditStoreError(f"the audit database `{self.url}` does not exist")
        for each in self.members:
            each.open()
        return self

    def decisions(
        self,
        where: DecisionFilter = _EVERYTHING,
        *,
        after: bytes | None = None,
        limit: int = 100,
        newest_first: bool = True,
    ) -> list[DecisionRecord]:
        pages = [each.decisions(where, after=after, limit=limit, newest_first=newest_first) for each in self.members]
        return _first(pages, limit, newest_first=newest_first)

    def each_decision(self, where: DecisionFilter = _EVERYTHING) -> Iterator[DecisionRecord]:
        return merge(*(each.each_decision(where) for each in self.members), key=_id)

    def decision(self, id_: bytes) -> DecisionRecord | None:
        return next((found for each in self.members if (found := each.decision(id_)) is not None), None)

    def lifecycle(
        self,
        *,
        type_: str | None = None,
        tenant: str | None = None,
        since_us: int | None = None,
        until_us: int | None = None,
        after: bytes | None = None,
        limit: int = 100,
        newest_first: bool = True,
    ) -> list[LifecycleRecord]:
        where: dict[str, Any] = {
            "type_": type_,
            "tenant": tenant,
            "since_us": since_us,
            "until_us": until_us,
            "after": after,
        }
        pages = [each.lifecycle(**where, limit=limit, newest_first=newest_first) for each in self.members]
        return _first(pages, limit, newest_first=newest_first)

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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _first(pages: Sequence[Sequence[_Record]], limit: int, *, newest_first: bool) -> list[_Record]:
    return list(islice(merge(*pages, key=_id, reverse=newest_first), limit))


def _file(url: str) -> Path | None:
    """What a SQLite URL names; None for PostgreSQL. Raises AuditStoreError for a URL of no use."""
    AuditStore(url)
    parsed = make_url(url)
    return Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None
