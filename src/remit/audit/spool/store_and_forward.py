import logging
import time
from collections.abc import Callable, Sequence
from threading import Condition, Event, Lock, Thread
from typing import Final, NamedTuple, Self

from remit.audit.errors import AuditStoreError, RecordRefused, StoreAwayError
from remit.audit.record import DecisionRecord, LifecycleRecord
from remit.audit.spool.entry_codec import ArchivedRevision, SpoolEntry
from remit.audit.spool.spool import Spool
from remit.audit.store.store import AuditStore

_RETRY_S: Final = 1.0
# What is handed on in one transaction: little, so that answers leave beside it; more where much has piled up.
_FEWEST_RECORDS: Final = 128
_MOST_RECORDS: Final = 4096
_TRANSACTIONS_LEFT: Final = 50
_LEAST_REST_S: Final = 0.004
_LONGEST_TURN_S: Final = 1.0
_LAST_WORDS_S: Final = 5.0

_log = logging.getLogger("remit.audit")


class SpoolStatus(NamedTuple):
    spooling: bool
    """Whether records go to the spool: because the store fails, or because older ones wait there still."""
    records: int
    """How many wait."""
    size: int
    """What they take, in bytes."""
    error: str
    """What keeps them there; '' once the store takes records again."""


class StoreAndForward:
    """A store with a spool before it: what the store does not take waits in the spool, and goes to the store in the
    order it came, once, when it works again. New records queue behind those that wait until none is left.

    A record that waits has no place in the store's chains yet; it gets one as any other does, when the store takes it.
    A commit whose outcome was lost is not repeated: each record's id is looked up before it is handed on.
    """

    def __init__(
        self, store: AuditStore, spool: Spool, ready: Callable[[], None], *, retry_s: float = _RETRY_S
    ) -> None:
        """`ready` opens the store; it is called again while it raises StoreAwayError."""
        self._store = store
        self._spool = spool
        self._ready = ready
        self._retry_s = retry_s
        self._lock = Lock()
        self._turn = Condition(self._lock)
        self._is_ready = False
        self._spooling = False
        self._error = ""
        self._handed_on = 0
        # Records since the last transaction that handed some on.
        self._came = 0
        self._stopping = Event()
        self._hurried = self._closed = False
        self._begun = Event()
        self._drainer = Thread(target=self._drain, name="remit-spool", daemon=True)

    def open(self) -> Self:
        """AuditStoreError where the spool does not open, or where the store is there and does not."""
        self._spool.open()
        try:
            self._get_ready()
        except StoreAwayError as error:
            self._begin(str(error))
        except BaseException:
            self._spool.close()
            raise
        if self._spool.records:
            self._begin("")
        self._drainer.start()
        return self

    @property
    def status(self) -> SpoolStatus:
        spool = self._spool
        return SpoolStatus(self._spooling, spool.records, spool.size, self._error)

    def append(
        self,
        records: Sequence[DecisionRecord],
        happened: Sequence[LifecycleRecord] = (),
        unrecorded: Sequence[DecisionRecord] = (),
    ) -> None:
        """Durable on return, in the store or in the spool."""
        with self._lock:
            if self._came > _FEWEST_RECORDS:
                # Less must come in than is handed on, or there would never be an end to it.
                self._turn.wait(_LONGEST_TURN_S)
            self._to_either(
                lambda: self._store.append(records, happened, unrecorded),
                lambda: self._spool.put(records, happened, unrecorded),
            )
            if self._spooling and not self._error:
                self._came += len(records) + len(happened) + len(unrecorded)

    def keep_revision(self, tenant: str, revision: str, kept_us: int, archive: bytes) -> None:
        """As `AuditStore.keep_revision`: it comes to the store before the records that are written after it."""
        kept = ArchivedRevision(tenant, revision, kept_us, archive)
        with self._lock:
            self._to_either(lambda: self._store.keep_revision(*kept), lambda: self._spool.put((), kept=[kept]))

    def check(self) -> None:
        with self._lock:
            self._to_either(self._store.check, self._spool.check)

    def probe(self) -> None:
        with self._lock:
            self._to_either(self._store.probe, self._spool.probe)

    def decision(self, id_: bytes) -> DecisionRecord | None:
        """Of the store: what waits is not looked through."""
        return self._store.decision(id_)

    def close(self, timeout_s: float = 0.0) -> int:
        """Hands on what waits, as far as the store takes it in that time. How many records are left for the next start.
        The store stays open."""
        self._hurried = True
        deadline = time.monotonic() + timeout_s
        while self._spooling and not self._error and time.monotonic() < deadline:
            time.sleep(_LEAST_REST_S)
        self._stopping.set()
        self._begun.set()
        self._drainer.join(_LAST_WORDS_S)
        with self._lock:
            self._closed = True
            self._spool.close()
        return self._spool.records

    def _to_either(self, store: Callable[[], None], spool: Callable[[], None]) -> None:
        error = self._error
        if not self._spooling:
            try:
                store()
            except RecordRefused:
                raise
            except AuditStoreError as failure:
                error = str(failure)
            else:
                return
        try:
            spool()
        except RecordRefused:
            raise
        except AuditStoreError as failure:
            raise AuditStoreError(f"{failure}; behind it, {error}" if error else str(failure)) from failure
        if not self._spooling:
            self._begin(error)

    def _begin(self, error: str) -> None:
        self._spooling = True
        self._handed_on = 0
        self._error = ""
        if error:
            self._failed(error)
        self._begun.set()

    def _failed(self, error: str) -> None:
        if not self._error:
            _log.error("audit records go to the spool: %s", error)
        self._error = error

    def _drain(self) -> None:
        while True:
            self._begun.wait()
            if self._stopping.is_set():
                return
            worked = time.thread_time()
            try:
                self._hand_on()
            except Exception as error:  # noqa: BLE001 (whatever the store does, what waits is tried again)
                self._came = 0
                self._failed(str(error) or repr(error))
                pause_s = self._retry_s
            else:
                self._error = ""
                # Answers get as much of the interpreter.
                pause_s = 0.0 if self._hurried else max(time.thread_time() - worked, _LEAST_REST_S)
            self._stopping.wait(pause_s)

    def _hand_on(self) -> None:
        """The oldest of what waits. Where nothing waits, and the store takes records, there is an end to spooling."""
        self._get_ready()
        with self._lock:
            share = min(max(self._spool.records // _TRANSACTIONS_LEFT, _FEWEST_RECORDS), _MOST_RECORDS)
            entries = self._spool.first(max(share, 2 * self._came))
            self._came = 0
        if entries:
            self._deliver([entry.waiting for entry in entries])
        else:
            self._store.probe()
        with self._lock:
            if entries and not self._closed:
                self._spool.drop(entries)
                self._handed_on += sum(entry.waiting.records for entry in entries)
            self._turn.notify_all()
            if not self._spool.records:
                self._spooling = False
                self._begun.clear()
                _log.warning("the audit store writes again, the spool is empty: %d records handed on", self._handed_on)

    def _deliver(self, waiting: Sequence[SpoolEntry]) -> None:
        """One transaction of what the store does not have yet: an earlier one may have been committed unheard."""
        known = self._store.known([id_ for each in waiting for id_ in each.ids])
        decided: list[DecisionRecord] = []
        happened: list[LifecycleRecord] = []
        unrecorded: list[DecisionRecord] = []
        for each in waiting:
            for kept in each.kept:
                self._store.keep_revision(*kept)
            decided += [record for record in each.decided if record.id not in known]
            happened += [record for record in each.happened if record.id not in known]
            # All of an entry is written together, and ids are all there is to look up.
            unrecorded += [] if known.intersection(each.ids) else each.unrecorded
        if known:
            _log.warning("%d records of the audit spool are in the store already", len(known))
        if decided or happened or unrecorded:
            self._store.append(decided, happened, unrecorded)

    def _get_ready(self) -> None:
        if not self._is_ready:
            self._ready()
            self._is_ready = True
