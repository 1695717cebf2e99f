"""Answers that take too long to find while a caller waits: each is found once, beside the decisions, and kept for a
while."""

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Final, Generic, TypeVar

from remit.service.compute_turns import waiting
from remit.service.errors import StillComputingError, TooManyWaitingError

KEPT: Final = 16
"""Answers that are remembered."""
WAITING: Final = 8
"""Answers that are being found, or wait to be."""

_Key = TypeVar("_Key")
_Answer = TypeVar("_Answer")


class KeptAnswers(Generic[_Key, _Answer]):
    """Finds one answer at a time. Callers with the same question share it. It goes on after its callers have left, so that
    who asks again gets the answer."""

    def __init__(self, name: str, find: Callable[[_Key], _Answer]) -> None:
        """`find` runs in a thread of this name, and bounds its time."""
        self._find = find
        self._mutex = Lock()
        self._kept: OrderedDict[_Key, _Answer] = OrderedDict()
        self._running: dict[_Key, Future[_Answer]] = {}
        self._queue: SimpleQueue[tuple[_Key] | None] = SimpleQueue()
        self._thread = Thread(target=self._find_all, name=name, daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when `find` has."""
        self._queue.put(None)
        self._thread.join()

    def answer(self, key: _Key, timeout_s: float, still: str) -> _Answer:
        """Raises StillComputingError with the text `still` if it takes longer than `timeout_s`, TooManyWaitingError, and
        what `find` raises."""
        with self._mutex:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
                return kept
            running = self._running.get(key)
            if running is None:
                if len(self._running) >= WAITING:
                    raise TooManyWaitingError(f"{WAITING} others wait for such an answer already: try again")
                running = self._running[key] = Future()
                self._queue.put((key,))
        try:
            with waiting():
                return running.result(timeout_s)
        except TimeoutError:
            raise StillComputingError(f"{still}: ask again for the result") from None

    def _find_all(self) -> None:
        while (wanted := self._queue.get()) is not None:
            (key,) = wanted
            found: _Answer | None = None
            error: BaseException | None = None
            try:
                found = self._find(key)
            except Exception as raised:  # noqa: BLE001 (whoever waits raises it)
                error = raised
            with self._mutex:
                running = self._running.pop(key)
                if found is not None:
                    self._kept[key] = found
                    if len(self._kept) > KEPT:
                        self._kept.popitem(last=False)
            if found is not None:
                running.set_result(found)
            else:
                running.set_exception(error)
