"""Looking at policies in a process of its own, so that parsing, compiling and tests take nothing from the calls."""

import math
import signal
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Final, TypeVar

from remit.core.errors import RemitError
from remit.core.policy import Policy
from remit.engine.pacing import Pacing
from remit.engine.snapshot import Snapshot
from remit.policy.build.scan import BuildStarted, Found, RestoreRequest, ScanRequest, TenantBuilt, run
from remit.policy.build.throttle import throttled
from remit.process.channel import ChildProcess, channel_to_parent
from remit.process.errors import ChildEndedError

_CHUNK: Final = 64
"""Rows in one message: reading a message cannot be interrupted, and holds up calls meanwhile."""
_ARCHIVE_CHUNK: Final = 64 * 1024
"""Bytes in one message, for the same reason."""
_NICE: Final = 5
"""A quarter of a core that a busy server has for itself; at 10 an edit waited for many seconds there."""
_SILENCE: Final = 4
_OVERTIME_S: Final = 30.0
"""A process that says nothing for so many times a tenant's limit of processor time, and this, hangs."""
_LEAST_S: Final = 0.001
_UNPACKED: Final = 4
"""Where the process may take so many seconds for a tenant, this one may take one: it works a fifth of the time."""
_CLOCK_EVERY: Final = 256
"""Items between two looks at the clock."""

_Item = TypeVar("_Item")


class SlowLoadError(RemitError):
    """A tenant took more processor time than `ScanRequest.within_s`. The next look gets a new process."""


@dataclass(frozen=True, slots=True)
class _Shipped:
    """What travels in place of a snapshot: its policy without rows. The rows follow in chunks, rules, links
    and reach rows, and then the archive, each kind closed by an empty chunk."""

    built: TenantBuilt
    policy: Policy


class BuildProcess:
    """Carries out orders in a process of its own, which starts with the first one. Not to be shared between threads."""

    def __init__(self) -> None:
        self._child = ChildProcess("the process that loads policies", __name__, serve.__name__)

    def carry_out(self, order: ScanRequest | RestoreRequest, pace: Pacing = throttled) -> Generator[Found, None, None]:
        """As `scan.run`; also raises ChildEndedError and SlowLoadError. Snapshots are compiled here, at a pace that lets
        calls pass unless another one is given."""
        within_s = order.within_s if isinstance(order, ScanRequest) else math.inf
        try:
            with self._child.channel(_SILENCE * order.limits.seconds + _OVERTIME_S) as channel:
                channel.send(order)
                messages = channel.receive_all()
                while not ((found := next(messages)) is None or isinstance(found, Exception)):
                    yield _unpacked(found, messages, pace, within_s) if isinstance(found, _Shipped) else found
        except ChildEndedError as error:
            # The timer that it set itself.
            if self._child.exit_code == -signal.SIGPROF:
                raise SlowLoadError from error
            raise
        if found is not None:
            raise found

    def end(self) -> None:
        """From any thread: whatever is being done breaks off, and nothing new begins."""
        self._child.stop()

    def close(self) -> None:
        self._child.close()


def serve(descriptor: int) -> None:
    """The process: carries out orders until nobody sends any more."""
    # Imported here, its time counts to no tenant.
    import_module("casbin")
    with channel_to_parent(descriptor, _NICE) as channel:
        while True:
            channel.send_all(_answer(channel.receive()))


def _answer(order: ScanRequest | RestoreRequest) -> Iterator[object]:
    """What is found, packed, and last an error or None."""
    try:
        for found in run(order):
            if isinstance(found, BuildStarted) and isinstance(order, ScanRequest) and order.within_s < math.inf:
                # Of processor time, so that a busy machine makes no tenant slow. Nobody handles the signal: it ends us,
                # wherever we are.
                signal.setitimer(signal.ITIMER_PROF, max(order.within_s, _LEAST_S))
            yield from _packed(found)
            if isinstance(found, TenantBuilt):
                signal.setitimer(signal.ITIMER_PROF, 0)
    except (OSError, RemitError) as error:
        yield error
    else:
        yield None


def _packed(found: Found) -> Iterator[object]:
    if not isinstance(found, TenantBuilt) or found.snapshot is None:
        yield found
        return
    policy = found.snapshot.policy
    yield _Shipped(replace(found, snapshot=None, archive=b""), replace(policy, rules=(), links=(), reach=()))
    for rows in (policy.rules, policy.links, policy.reach):
        for start in range(0, len(rows), _CHUNK):
            yield rows[start : start + _CHUNK]
        yield ()
    for start in range(0, len(found.archive), _ARCHIVE_CHUNK):
        yield found.archive[start : start + _ARCHIVE_CHUNK]
    yield b""


def _unpacked(shipped: _Shipped, messages: Iterator[Any], pace: Pacing, within_s: float) -> TenantBuilt:
    started = time.thread_time()

    def paced(items: Iterable[_Item], /) -> Iterator[_Item]:
        for number, item in enumerate(pace(items)):
            if number % _CLOCK_EVERY == 0 and (time.thread_time() - started) * _UNPACKED > within_s:
                raise SlowLoadError
            yield item

    rules, links, reach = (tuple(paced(_rows(messages))) for _ in range(3))
    archive = b"".join(paced(iter(messages.__next__, b"")))
    policy = replace(shipped.policy, rules=rules, links=links, reach=reach)
    snapshot = Snapshot(policy, paced)
    processor_s = shipped.built.processor_s + (time.thread_time() - started) * _UNPACKED
    return replace(shipped.built, snapshot=snapshot, archive=archive, processor_s=processor_s)


def _rows(messages: Iterator[Any]) -> Iterator[Any]:
    while chunk := next(messages):
        yield from chunk
