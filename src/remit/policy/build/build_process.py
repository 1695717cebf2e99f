"""Looking at policies in a process of its own, so that parsing, compiling and tests take nothing from the calls."""

import math
import os
import pickle
import signal
import subprocess
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from threading import Thread
from typing import Any, Final, Protocol, TypeVar

from remit.core.errors import RemitError
from remit.core.policy import Policy
from remit.engine.pacing import Pacing
from remit.engine.snapshot import Snapshot
from remit.policy.build.scan import BuildStarted, Found, RestoreRequest, ScanRequest, TenantBuilt, run
from remit.policy.build.throttle import throttled
from remit.process.child import leave_signals_to_parent, start_child, wire_to_parent
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
_LAST_WORDS_S: Final = 1.0
_LEAST_S: Final = 0.001
_UNPACKED: Final = 4
"""Where the process may take so many seconds for a tenant, this one may take one: it works a fifth of the time."""
_PARENT_EVERY_S: Final = 1.0
_CLOCK_EVERY: Final = 256
"""Items between two looks at the clock."""

_Item = TypeVar("_Item")


class SlowLoadError(RemitError):
    """A tenant took more processor time than `ScanRequest.within_s`. The next look gets a new process."""


@dataclass(frozen=True, slots=True)
class _Shipped:
    """What comes over the wire in place of a snapshot: its policy without rows. The rows follow in chunks, rules, links
    and reach rows, and then the archive, each kind closed by an empty chunk."""

    built: TenantBuilt
    policy: Policy


class _Wire(Protocol):
    def write(self, content: bytes, /) -> int: ...

    def flush(self) -> None: ...


class BuildProcess:
    """Carries out orders in a process of its own, which starts with the first one. Not to be shared between threads."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._stream: Any = None
        self._ended = False

    def carry_out(self, order: ScanRequest | RestoreRequest, pace: Pacing = throttled) -> Generator[Found, None, None]:
        """As `look.carry_out`; also raises WorkerEndedError and SlowLoadError. Snapshots are compiled here, at a pace that
        lets calls pass unless another one is given."""
        stream = self._started()
        stream.settimeout(_SILENCE * order.limits.seconds + _OVERTIME_S)
        within_s = order.within_s if isinstance(order, ScanRequest) else math.inf
        done = False
        try:
            with stream.makefile("rwb") as file:
                pickle.dump(order, file)
                file.flush()
                reader = pickle.Unpickler(file)  # noqa: S301 (what our own process says)
                while (found := reader.load()) is not None:
                    if isinstance(found, Exception):
                        done = True
                        raise found
                    yield _unpacked(found, reader, pace, within_s) if isinstance(found, _Shipped) else found
            done = True
        except (EOFError, TimeoutError, ConnectionError, pickle.UnpicklingError) as error:
            if done:
                raise
            if self._out_of_time():
                raise SlowLoadError from error
            raise ChildEndedError(f"the process that loads policies ended or hung: {error!r}") from error
        finally:
            if not done:
                self.close()

    def end(self) -> None:
        """From any thread: whatever is being done breaks off, and nothing new begins."""
        self._ended = True
        process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        if self._process is not None:
            self._stream.close()
            self._process.kill()
            self._process.wait()
            self._process = None

    def _out_of_time(self) -> bool:
        """Whether the system ended the process by the timer that it set itself."""
        assert self._process is not None
        try:
            return self._process.wait(_LAST_WORDS_S) == -signal.SIGPROF
        except subprocess.TimeoutExpired:
            return False

    def _started(self) -> Any:
        if self._ended:
            raise ChildEndedError("the server is stopping")
        if self._process is None or self._process.poll() is not None:
            self.close()
            try:
                self._process, self._stream = start_child(__name__, serve.__name__)
            except OSError as error:
                raise ChildEndedError(f"the process that loads policies cannot be started: {error.strerror}") from error
        return self._stream


def serve(descriptor: int) -> None:
    """The process: carries out orders until nobody sends any more."""
    leave_signals_to_parent()
    os.nice(_NICE)
    # In the middle of a load nobody looks at the wire.
    Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    with wire_to_parent(descriptor) as (_, file):
        while True:
            order = pickle.load(file)  # noqa: S301 (what our own process says)
            _answer(order, file)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_EVERY_S)
    os._exit(1)


def _answer(order: ScanRequest | RestoreRequest, file: _Wire) -> None:
    # One pickler for all of an answer: a name that many rows share travels once, and is one text at the other end too.
    writer = pickle.Pickler(file, pickle.HIGHEST_PROTOCOL)
    try:
        for found in run(order):
            if isinstance(found, BuildStarted) and isinstance(order, ScanRequest) and order.within_s < math.inf:
                # Of processor time, so that a busy machine makes no tenant slow. Nobody handles the signal: it ends us,
                # wherever we are.
                signal.setitimer(signal.ITIMER_PROF, max(order.within_s, _LEAST_S))
            for message in _packed(found):
                writer.dump(message)
            file.flush()
            if isinstance(found, TenantBuilt):
                signal.setitimer(signal.ITIMER_PROF, 0)
    except (OSError, RemitError) as error:
        writer.dump(error)
    else:
        writer.dump(None)
    file.flush()


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


def _unpacked(shipped: _Shipped, reader: pickle.Unpickler, pace: Pacing, within_s: float) -> TenantBuilt:
    started = time.thread_time()

    def paced(items: Iterable[_Item], /) -> Iterator[_Item]:
        for number, item in enumerate(pace(items)):
            if number % _CLOCK_EVERY == 0 and (time.thread_time() - started) * _UNPACKED > within_s:
                raise SlowLoadError
            yield item

    rules, links, reach = (tuple(paced(_rows(reader))) for _ in range(3))
    archive = b"".join(paced(iter(reader.load, b"")))
    policy = replace(shipped.policy, rules=rules, links=links, reach=reach)
    snapshot = Snapshot(policy, paced)
    processor_s = shipped.built.processor_s + (time.thread_time() - started) * _UNPACKED
    return replace(shipped.built, snapshot=snapshot, archive=archive, processor_s=processor_s)


def _rows(reader: pickle.Unpickler) -> Iterator[Any]:
    while chunk := reader.load():
        yield from chunk
