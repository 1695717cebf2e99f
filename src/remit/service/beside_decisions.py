"""Answers that take too long to find while a caller waits: each is found once, beside the decisions, and kept for a
while."""

from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from threading import Condition, Thread
from typing import Final, Generic, TypeVar

from remit.core.names import Tenant
from remit.service.compute_turns import waiting
from remit.service.errors import StillComputingError, TooManyWaitingError

KEPT: Final = 16
"""Answers that are remembered."""
WAITING: Final = 8
"""Answers of one tenant that are being found, or wait to be."""
ALL: Final = 64
"""Answers of all tenants that are being found, or wait to be."""

_Question = TypeVar("_Question")
_Answer = TypeVar("_Answer")


class KeptAnswers(Generic[_Question, _Answer]):
    """Finds one answer at a time; the tenants take turns. Callers with the same question share it. It goes on after its
    callers have left, so that who asks again gets the answer."""

    def __init__(self, name: str, find: Callable[[Tenant, _Question], _Answer]) -> None:
        """`find` runs in a thread of this name, and bounds its time."""
        self._find = find
        self._changed = Condition()
        self._stopped = False
        self._kept: OrderedDict[tuple[Tenant, _Question], _Answer] = OrderedDict()
        self._running: dict[tuple[Tenant, _Question], Future[_Answer]] = {}
        self._queues: OrderedDict[Tenant, deque[_Question]] = OrderedDict()
        """What waits; the first tenant is the next one."""
        self._thread = Thread(target=self._find_all, name=name, daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when `find` has."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    def answer(self, tenant: Tenant, question: _Question, timeout_s: float, still: str) -> _Answer:
        """Raises StillComputingError with the text `still` if it takes longer than `timeout_s`, TooManyWaitingError, and
        what `find` raises."""
        key = tenant, question
        with self._changed:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
                return kept
            running = self._running.get(key)
            if running is None:
                self._require_room(tenant)
                running = self._running[key] = Future()
                self._queues.setdefault(tenant, deque()).append(question)
                self._changed.notify()
        try:
            with waiting():
                return running.result(timeout_s)
        except TimeoutError:
            raise StillComputingError(f"{still}: ask again for the result") from None

    def _require_room(self, tenant: Tenant) -> None:
        of_tenant = sum(each == tenant for each, _ in self._running)
        for others, limit in ((of_tenant, WAITING), (len(self._running), ALL)):
            if others >= limit:
                raise TooManyWaitingError(f"{others} others wait for such an answer already: try again")

    def _find_all(self) -> None:
        while (key := self._next()) is not None:
            found: _Answer | None = None
            error: BaseException | None = None
            try:
                found = self._find(*key)
            except Exception as raised:  # noqa: BLE001 (whoever waits raises it)
                error = raised
            with self._changed:
                running = self._running.pop(key)
                if found is not None:
                    self._kept[key] = found
                    if len(self._kept) > KEPT:
                        self._kept.popitem(last=False)
            if found is not None:
                running.set_result(found)
            else:
                running.set_exception(error)

    def _next(self) -> tuple[Tenant, _Question] | None:
        """Waits for a question. None after the stop, when nobody waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._queues or self._stopped)
            if not self._queues:
                return None
            tenant, queue = self._queues.popitem(last=False)
            question = queue.popleft()
            if queue:
                self._queues[tenant] = queue
            return tenant, question
