"""Differences between kept revisions: each pair is compared once, beside the decisions, and kept for a while."""

from collections import OrderedDict
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Final, NamedTuple

from remit.core.names import Tenant
from remit.engine.diff import TenantDiff
from remit.policy.read.limits import Limits
from remit.policy.revisions.differ import RevisionArchive, RevisionDiff, RevisionDiffer
from remit.service.compute_turns import waiting
from remit.service.errors import ComparingError, TooManyComparisonsError
from remit.service.kept_revisions import KeptRevisions

KEPT: Final = 16
"""Differences that are remembered."""
WAITING: Final = 8
"""Comparisons that run or wait to run."""
COMPARE_S: Final = 120.0
"""The longest comparison."""


class _Pair(NamedTuple):
    tenant: Tenant
    old: str
    new: str


class RevisionDiffs:
    """Compares one pair of revisions at a time. Callers that ask for the same pair share the comparison. It goes on after
    its callers have left, so that who asks again gets its result."""

    def __init__(self, kept: KeptRevisions, limits: Limits) -> None:
        self._revisions = kept
        self._limits = limits
        self._differ = RevisionDiffer()
        self._mutex = Lock()
        self._kept: OrderedDict[_Pair, RevisionDiff] = OrderedDict()
        self._running: dict[_Pair, Future[RevisionDiff]] = {}
        self._queue: SimpleQueue[_Pair | None] = SimpleQueue()
        self._thread = Thread(target=self._compare_all, name="remit-diffs", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Aborts the comparison in progress."""
        self._differ.stop()
        self._queue.put(None)
        self._thread.join()

    def diff(self, tenant: Tenant, old: str, new: str, timeout_s: float) -> RevisionDiff:
        """`old` and `new` are revisions, their first digits, or '' for the one that serves.

        Raises RevisionNotStoredError, TooLargeError, TooManyComparisonsError, ComparingError if it takes longer than
        `timeout_s`, ChildEndedError or AuditStoreError.
        """
        pair = _Pair(tenant, self._revisions.revision(tenant, old), self._revisions.revision(tenant, new))
        if pair.old == pair.new:
            self._revisions.archived(tenant, pair.old)
            return RevisionDiff(pair.old, pair.new, TenantDiff(tenant))
        with self._mutex:
            kept = self._kept.get(pair)
            if kept is not None:
                self._kept.move_to_end(pair)
                return kept
            running = self._running.get(pair)
            if running is None:
                if len(self._running) >= WAITING:
                    raise TooManyComparisonsError(f"{WAITING} comparisons of revisions wait already: try again")
                running = self._running[pair] = Future()
                self._queue.put(pair)
        try:
            with waiting():
                return running.result(timeout_s)
        except TimeoutError:
            raise ComparingError(
                f"`{pair.old[:12]}` and `{pair.new[:12]}` are still being compared: ask again for the result"
            ) from None

    def _compare_all(self) -> None:
        while (pair := self._queue.get()) is not None:
            found: RevisionDiff | None = None
            error: BaseException | None = None
            try:
                old, new = (
                    RevisionArchive(each, self._revisions.archived(pair.tenant, each)) for each in (pair.old, pair.new)
                )
                found = self._differ.diff(pair.tenant, old, new, self._limits, COMPARE_S)
            except Exception as raised:  # noqa: BLE001 (whoever waits raises it)
                error = raised
            with self._mutex:
                running = self._running.pop(pair)
                if found is not None:
                    self._kept[pair] = found
                    if len(self._kept) > KEPT:
                        self._kept.popitem(last=False)
            if found is not None:
                running.set_result(found)
            else:
                running.set_exception(error)
