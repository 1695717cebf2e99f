"""Scans policies in a child process, so that parsing, compiling and tests take no time from calls."""

import math
import signal
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from importlib import import_module
from operator import attrgetter
from typing import Any, Final, TypeVar

from remit.core.errors import RemitError
from remit.core.policy import Policy
from remit.engine.pacing import Pacing
from remit.engine.snapshot import Snapshot
from remit.policy.build.scan import BuildStarted, RestoreRequest, ScanRequest, ScanResult, TenantBuilt, run
from remit.policy.build.throttle import throttled
from remit.process.channel import ChildProcess, channel_to_parent
from remit.process.errors import ChildEndedError

_CHUNK: Final = 64
"""Rows in one message: nothing can interrupt the read of a message, so calls wait meanwhile."""
_ARCHIVE_CHUNK: Final = 64 * 1024
"""Bytes in one message, for the same reason."""
_NICE: Final = 5
"""A quarter of a core beside a busy server; at 10 an edit took many seconds."""
_SILENCE: Final = 4
_OVERTIME_S: Final = 30.0
"""A process that sends nothing for _SILENCE times a tenant's limit of processor time, plus this, hangs."""
_LEAST_S: Final = 0.001
_UNPACKED: Final = 4
"""Processor time of the child for one second of this process, which does about a fifth of the work."""
_CLOCK_EVERY: Final = 256
"""Items between two readings of the clock."""

_Item = TypeVar("_Item")


class SlowLoadError(RemitError):
    """A tenant took more processor time than `ScanRequest.within_s`. The next scan gets a new process."""


@dataclass(frozen=True, slots=True)
class _Shipped:
    """Sent in place of a snapshot: its policy without rows. Rules, links and reach rows follow in chunks, then the
    archive; an empty chunk ends each kind. A chunk of rows is their class and a column for each field: to pickle each row
    would take longer."""

    built: TenantBuilt
    policy: Policy


class BuildProcess:
    """Runs scans in a child process, which the first one starts. Not thread-safe."""

    def __init__(self) -> None:
        self._child = ChildProcess("the process that loads policies", __name__, serve.__name__)

    def run(self, order: ScanRequest | RestoreRequest, pacing: Pacing = throttled) -> Generator[ScanResult, None, None]:
        """Like `scan.run`; also raises ChildEndedError and SlowLoadError. Compiles snapshots in this process, at
        `pacing`."""
        within_s = order.within_s if isinstance(order, ScanRequest) else math.inf
        try:
            with self._child.channel(_SILENCE * order.limits.seconds + _OVERTIME_S) as channel:
                channel.send(order)
                messages = channel.receive_all()
                while not ((result := next(messages)) is None or isinstance(result, Exception)):
                    yield _unpacked(result, messages, pacing, within_s) if isinstance(result, _Shipped) else result
        except ChildEndedError as error:
            # The process's own timer ended it.
            if self._child.exit_code == -signal.SIGPROF:
                raise SlowLoadError from error
            raise
        if result is not None:
            raise result

    def end(self) -> None:
        """Aborts the scan in progress and starts no other. Thread-safe."""
        self._child.stop()

    def close(self) -> None:
        self._child.close()


def serve(descriptor: int) -> None:
    """The process: runs scans until the channel closes."""
    # Imported here, its time counts to no tenant.
    import_module("casbin")
    with channel_to_parent(descriptor, _NICE) as channel:
        while True:
            channel.send_all(_answer(channel.receive()))


def _answer(order: ScanRequest | RestoreRequest) -> Iterator[object]:
    """The results of the scan, packed; the last is an error or None."""
    try:
        for result in run(order):
            if isinstance(result, BuildStarted) and isinstance(order, ScanRequest) and order.within_s < math.inf:
                # Processor time, so that a busy machine makes no tenant slow. The process has no handler for the
                # signal: it ends.
                signal.setitimer(signal.ITIMER_PROF, max(order.within_s, _LEAST_S))
            yield from _packed(result)
            if isinstance(result, TenantBuilt):
                signal.setitimer(signal.ITIMER_PROF, 0)
    except (OSError, RemitError) as error:
        yield error
    else:
        yield None


def _packed(result: ScanResult) -> Iterator[object]:
    if not isinstance(result, TenantBuilt) or result.snapshot is None:
        yield result
        return
    policy = result.snapshot.policy
    yield _Shipped(replace(result, snapshot=None, archive=b""), replace(policy, rules=(), links=(), reach=()))
    for rows in (policy.rules, policy.links, policy.reach):
        for start in range(0, len(rows), _CHUNK):
            yield _columns(rows[start : start + _CHUNK])
        yield ()
    for start in range(0, len(result.archive), _ARCHIVE_CHUNK):
        yield result.archive[start : start + _ARCHIVE_CHUNK]
    yield b""


def _unpacked(shipped: _Shipped, messages: Iterator[Any], pacing: Pacing, within_s: float) -> TenantBuilt:
    started = time.thread_time()

    def paced(items: Iterable[_Item], /) -> Iterator[_Item]:
        for number, item in enumerate(pacing(items)):
            if number % _CLOCK_EVERY == 0 and (time.thread_time() - started) * _UNPACKED > within_s:
                raise SlowLoadError
            yield item

    rules, links, reach = (tuple(paced(_rows(messages))) for _ in range(3))
    archive = b"".join(paced(iter(messages.__next__, b"")))
    policy = replace(shipped.policy, rules=rules, links=links, reach=reach)
    snapshot = Snapshot(policy, paced)
    processor_s = shipped.built.processor_s + (time.thread_time() - started) * _UNPACKED
    return replace(shipped.built, snapshot=snapshot, archive=archive, processor_s=processor_s)


def _columns(rows: Sequence[Any]) -> tuple[Any, ...]:
    row = type(rows[0])
    values = attrgetter(*(each.name for each in fields(row)))
    return row, *zip(*map(values, rows), strict=True)


def _rows(messages: Iterator[Any]) -> Iterator[Any]:
    while chunk := next(messages):
        row, *columns = chunk
        yield from map(row, *columns)
