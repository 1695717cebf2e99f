import logging
import time
from collections.abc import Callable, Sequence
from threading import Condition, Event, Lock, Thread
from typing import Final, NamedTuple, Self

from remit.audit.errors import AuditStoreError, RecordRefused, StoreAwayError
from remit.audit.record import ArchivedRevision, DecisionRecord, LifecycleRecord
from remit.audit.spool.entry_codec import SpoolEntry
from remit.audit.spool.spool import Spool
from remit.audit.store.store import AuditStore

_RETRY_S: Final = 1.0
# Records per transaction: few, because answers are sent meanwhile. More if many wait.
_FEWEST_RECORDS: Final = 128
_MOST_RECORDS: Final = 4096
_TRANSACTIONS_LEFT: Final = 50
_LEAST_REST_S: Final = 0.004
_LONGEST_TURN_S: Final = 1.0
_LAST_WORDS_S: Final = 5.0

_log = logging.getLogger("remit.audit")


class SpoolStatus(NamedTuple):
    spooling: bool
    """Whether records go to the spool: the store fails, or older records still wait there."""
    records: int
    size: int
    error: str
    """Why records wait. '' once the store takes records again."""


class StoreAndForward:
    """A store with a spool: records that the store does not take wait in the spool.

    When the store works again, it gets each of them once, in the order they came. New records wait behind older ones
    until none is left. A waiting record has no position in the store's chains; it gets one when the store takes it. A
    commit with unknown outcome is not repeated: each record's id is looked up before the record is forwarded.
    """

    def __init__(
        self, store: AuditStore, spool: Spool, ready: Callable[[], None], *, retry_s: float = _RETRY_S
    ) -> None:
        """`ready` opens the store. It is called again as long as it raises StoreAwayError."""
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
        # Records since the last transaction that forwarded some.
        self._came = 0
        self._stopping = Event()
        self._hurried = self._closed = False
        self._begun = Event()
        self._drainer = Thread(target=self._drain, name="remit-spool", daemon=True)

    def open(self) -> Self:
        """Raises AuditStoreError if the spool does not open, or if the store can be reached and does not open."""
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
        revisions: Sequence[ArchivedRevision] = (),
    ) -> None:
        """Writes records, durable on return, to the store or to the spool."""
        with self._lock:
            if self._came > _FEWEST_RECORDS:
                # Fewer records must arrive than are forwarded, or the spool never empties.
                self._turn.wait(_LONGEST_TURN_S)
            self._to_either(
                lambda: self._store.append(records, happened, unrecorded, revisions),
                lambda: self._spool.put(records, happened, unrecorded, revisions),
            )
            if self._spooling and not self._error:
                self._came += len(records) + len(happened) + len(unrecorded)

    def check(self) -> None:
        with self._lock:
            self._to_either(self._store.check, self._spool.check)

    def probe(self) -> None:
        with self._lock:
            self._to_either(self._store.probe, self._spool.probe)

    def decision(self, id_: bytes) -> DecisionRecord | None:
        """Reads from the store only, not from the spool."""
        return self._store.decision(id_)

    def close(self, timeout_s: float = 0.0) -> int:
        """Forwards waiting records, as many as the store takes in that time. Leaves the store open.

        Returns the number of records left for the next start.
        """
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
                self._forward()
            except Exception as error:  # noqa: BLE001 (whatever the store does, what waits is tried again)
                self._came = 0
                self._failed(str(error) or repr(error))
                pause_s = self._retry_s
            else:
                self._error = ""
                # Answers get the same share of the interpreter.
                pause_s = 0.0 if self._hurried else max(time.thread_time() - worked, _LEAST_REST_S)
            self._stopping.wait(pause_s)

    def _forward(self) -> None:
        """Forwards the oldest waiting records. If none wait and the store takes records, spooling ends."""
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
                _log.warning("the audit store writes again, the spool is empty: %d records forwarded", self._handed_on)

    def _deliver(self, waiting: Sequence[SpoolEntry]) -> None:
        """Writes, in one transaction, the records that the store does not have yet.

        An earlier commit may have succeeded without confirmation.
        """
        known = self._store.known([id_ for each in waiting for id_ in each.ids])
        decided: list[DecisionRecord] = []
        happened: list[LifecycleRecord] = []
        unrecorded: list[DecisionRecord] = []
        for each in waiting:
            decided += [record for record in each.decided if record.id not in known]
            happened += [record for record in each.happened if record.id not in known]
            # An entry is written as a whole, and only its ids can be looked up.
            unrecorded += [] if known.intersection(each.ids) else each.unrecorded
        if known:
            _log.warning("%d records of the audit spool are in the store already", len(known))
        revisions = [archived for each in waiting for archived in each.revisions]
        if decided or happened or unrecorded or revisions:
            self._store.append(decided, happened, unrecorded, revisions)

    def _get_ready(self) -> None:
        if not self._is_ready:
            self._ready()
            self._is_ready = True
