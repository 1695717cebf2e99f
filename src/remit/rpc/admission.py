"""Admission of calls: how many calls of a class, and of one caller, get a place and a thread."""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Final

import structlog

from remit.rpc.errors import CrowdedError, ShareError
from remit.service.compute_turns import ComputeTurns
from remit.service.limits_hit import LimitsHit
from remit.service.metrics import Metrics

SILENT_CALLS: Final = 1_024
"""Calls that wait for their message; past the limit a new one ends the oldest."""
REVISION_WATCHERS: Final = 64
HEALTH_WATCHERS: Final = 64
FOLLOWERS: Final = 16
IMPORTS: Final = 4
"""One of them at work: the servicer refuses the others."""
EXPORTS: Final = 4
BINDING_WATCHERS: Final = 64
REFLECTIONS: Final = 8
QUERY_WEIGHT: Final = 10
"""Questions that a list, a graph, an explanation or a read of the audit counts as."""
_OPERATIONS: Final = 64
_OPERATION_THREADS: Final = 8
_LEAST: Final = 8
"""Places that every caller may have, however many callers there are."""
_TURN: Final = 8
_LOG_EVERY_S: Final = 10.0

_log = structlog.get_logger("remit.rpc")


class Limiter:
    """Places for `limit` calls, shared fairly among callers that have names.

    Once half of the places are in use, one caller holds at most an equal share: the places, divided by the callers that
    hold one and one more who may come. A share is never below `_LEAST` places, or half of them if that is less.
    """

    def __init__(self, calls: str, limit: int, *, shared: bool = False, within: "Limiter | None" = None) -> None:
        """`calls` names the calls. `shared`: callers have names. A call takes a place of `within` too."""
        self.calls = calls
        self.count = 0
        self._limit = limit
        self._half = max(limit // 2, 1)
        self._least = min(_LEAST, self._half)
        self._shared = shared
        self._within = within
        self._callers: dict[str, int] = {}
        self._mutex = Lock()

    def enter(self, caller: str) -> None:
        """Takes a place. Raises CrowdedError if there is none."""
        with self._mutex:
            if self._shared:
                held = self._callers.get(caller, 0)
                if self.count >= self._half and held >= self._least:
                    share = max(self._least, self._limit // (len(self._callers) + 1))
                    if held >= share:
                        raise ShareError(f"{held} calls of this caller are in flight already ({self.calls}): try again")
            if self.count >= self._limit:
                raise CrowdedError(f"{self._limit} calls are in flight already ({self.calls}): try again")
            if self._shared:
                self._callers[caller] = held + 1
            self.count += 1
        if self._within is not None:
            try:
                self._within.enter(caller)
            except CrowdedError:
                self._leave(caller)
                raise

    @property
    def callers(self) -> int:
        """Callers that hold a place; 0 if callers have no names."""
        return len(self._callers)

    def leave(self, caller: str) -> None:
        self._leave(caller)
        if self._within is not None:
            self._within.leave(caller)

    def _leave(self, caller: str) -> None:
        with self._mutex:
            self.count -= 1
            if self._shared:
                left = self._callers[caller] - 1
                if left:
                    self._callers[caller] = left
                else:
                    # Names of callers come from outside: keep no idle one.
                    del self._callers[caller]


class Turns:
    """Questions that the receiving thread answers at a time.

    It answers calls in their order, so one caller could fill it. While other callers have calls in flight, it answers
    at most `_TURN` questions of a caller, or one call, at a time. The caller's further calls wait for its threads.
    """

    def __init__(self, places: Limiter) -> None:
        self._places = places
        self._held: dict[str, int] = {}
        self._mutex = Lock()

    def take(self, caller: str, questions: int) -> bool:
        """False if the call needs a thread."""
        with self._mutex:
            held = self._held.get(caller, 0)
            if held and held + questions > _TURN and self._places.callers > 1:
                return False
            self._held[caller] = held + questions
            return True

    def leave(self, caller: str, questions: int) -> None:
        with self._mutex:
            left = self._held[caller] - questions
            if left:
                self._held[caller] = left
            else:
                # Names of callers come from outside: keep no idle one.
                del self._held[caller]


@dataclass(slots=True)
class _Jobs:
    """The jobs of one caller."""

    running: int = 0
    waiting: deque[Callable[[], None]] = field(default_factory=deque)


class SharedThreads:
    """Threads, of which one caller may use at most `share`. Further jobs of a caller wait until one of its
    jobs ends."""

    def __init__(
        self, name: str, threads: int, share: int | None = None, pool: ThreadPoolExecutor | None = None
    ) -> None:
        """The threads are those of `pool`, if it is given."""
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix=name) if pool is None else pool
        self._share = threads if share is None else share
        self._callers: dict[str, _Jobs] = {}
        self._mutex = Lock()

    def run(self, caller: str, job: Callable[[], None]) -> None:
        with self._mutex:
            jobs = self._callers.setdefault(caller, _Jobs())
            if jobs.running >= self._share:
                jobs.waiting.append(job)
                return
            jobs.running += 1
        self.pool.submit(self._run, caller, job)

    def _run(self, caller: str, job: Callable[[], None]) -> None:
        try:
            job()
        finally:
            with self._mutex:
                jobs = self._callers[caller]
                following = jobs.waiting.popleft() if jobs.waiting else None
                if following is None:
                    jobs.running -= 1
                    if not jobs.running:
                        del self._callers[caller]
            if following is not None:
                # Queue it after jobs that others submitted meanwhile.
                self.pool.submit(self._run, caller, following)


@dataclass(frozen=True, slots=True)
class CallClass:
    """Calls that share places and threads."""

    places: Limiter
    threads: SharedThreads
    weight: int = 0
    """Questions that one call counts as, in the rates of `service.limits`. 0 exempts it."""
    turns: Turns | None = None
    """Turns of the receiving thread; None if callers have no names."""
    without_turn: SharedThreads | None = None
    """Threads for the calls that get no turn: one at a time for each caller."""
    computes: ComputeTurns | None = None
    """Turns of threads to compute; None if callers have no names, or if calls of the class hardly compute."""
    while_stopping: bool = False
    """True if the server answers them while it stops."""

    def turn_in_thread(self, caller: str) -> AbstractContextManager[None]:
        """Waits until no other thread computes for the caller."""
        return nullcontext() if self.computes is None else self.computes.of(caller)


class CallClasses:
    """The classes of calls of a server.

    Classes do not share places or threads, with one exception: queries and decisions together have `max_calls` places,
    of which queries have at most half, and share `threads`. If callers have names, they share places as `Limiter` says,
    and one caller uses at most a quarter of `threads` at a time.
    """

    def __init__(self, *, max_calls: int, threads: int, callers_have_names: bool) -> None:
        places = partial(Limiter, shared=callers_have_names)

        def streams(calls: str, limit: int, *, while_stopping: bool = False, weight: int = 0) -> CallClass:
            # One more thread, to refuse calls if every call has a thread from the start.
            its_own = SharedThreads(f"remit-{calls}", limit + 1)
            return CallClass(places(calls, limit), its_own, weight, while_stopping=while_stopping)

        def part(threads: int, parts: int) -> int | None:
            return max(threads // parts, 1) if callers_have_names else None

        of_calls = SharedThreads("remit-call", threads, part(threads, 4))
        operating = SharedThreads("remit-operation", _OPERATION_THREADS, part(_OPERATION_THREADS, 2))
        all_calls = places("calls", max_calls)
        turns, computes = (Turns(all_calls), ComputeTurns()) if callers_have_names else (None, None)
        without_turn = SharedThreads("remit-call", threads, 1, of_calls.pool)
        self.decisions = CallClass(all_calls, of_calls, 1, turns=turns, without_turn=without_turn, computes=computes)
        """Checks and batches of checks."""
        queries = places("queries", max(max_calls // 2, 1), within=all_calls)
        self.queries = CallClass(queries, of_calls, QUERY_WEIGHT, computes=computes)
        """Everything that is more than a decision: explanations, lists, graphs, reads of the audit."""
        self.operations = CallClass(places("operations", _OPERATIONS), operating)
        """Status and pins."""
        self.health = CallClass(Limiter("health", max_calls), operating, while_stopping=True)
        self.revision_watchers = streams("revision watchers", REVISION_WATCHERS)
        self.health_watchers = streams("health watchers", HEALTH_WATCHERS, while_stopping=True)
        self.followers = streams("followers", FOLLOWERS, weight=QUERY_WEIGHT)
        self.imports = streams("imports", IMPORTS, weight=QUERY_WEIGHT)
        self.exports = streams("exports", EXPORTS, weight=QUERY_WEIGHT)
        self.binding_watchers = streams("binding watchers", BINDING_WATCHERS)
        self.reflection = streams("reflection", REFLECTIONS)

    @property
    def limiters(self) -> tuple[Limiter, ...]:
        classes = (self.decisions, self.queries, self.operations, self.health)
        watchers = (self.revision_watchers, self.health_watchers, self.followers, self.binding_watchers)
        streams = (*watchers, self.imports, self.exports, self.reflection)
        return tuple(each.places for each in (*classes, *streams))


class Refusals:
    """Counts calls that were refused for lack of a place, and logs them from time to time."""

    def __init__(self, metrics: Metrics, hit: LimitsHit) -> None:
        self._metrics = metrics
        self._hit = hit
        self._mutex = Lock()
        self._since: dict[tuple[str, str], int] = {}
        self._silent_until = 0.0

    def add(self, calls: str, reason: str, caller: str) -> None:
        self._metrics.refused(calls, reason)
        self._hit.add(calls, reason, caller)
        with self._mutex:
            self._since[calls, reason] = self._since.get((calls, reason), 0) + 1
            now = time.monotonic()
            if now < self._silent_until:
                return
            self._silent_until = now + _LOG_EVERY_S
            since, self._since = self._since, {}
        told = [f"{count} {calls}: {reason}" for (calls, reason), count in since.items()]
        _log.warning("calls refused", refused=told, last_caller=caller)
