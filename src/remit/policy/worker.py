"""Looking at policies in a process of its own, so that parsing, compiling and tests take nothing from the calls."""

import os
import pickle
import socket
import subprocess
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeVar

from remit.core.errors import RemitError
from remit.core.policy import Policy
from remit.engine.pace import Pace
from remit.engine.snapshot import Snapshot
from remit.policy.child import leave_signals_to_parent, start_child
from remit.policy.look import Begun, Built, Found, Look, Recall, carry_out
from remit.policy.pace import resting

_CHUNK: Final = 64
"""Rows in one message: reading a message cannot be interrupted, and holds up calls meanwhile."""
_ARCHIVE_CHUNK: Final = 64 * 1024
"""Bytes in one message, for the same reason."""
_NICE: Final = 5
"""A quarter of a core that a busy server has for itself; at 10 an edit waited for many seconds there."""
_OVERTIME_S: Final = 30.0
"""Past a tenant's own limit, for what that does not measure."""
_LEAST_S: Final = 0.001
_CLOCK_EVERY: Final = 256
"""Items between two looks at the clock."""

_Item = TypeVar("_Item")


class WorkerEndedError(RemitError):
    """The process ended or hung in the middle of a look, or could not be started. The next one gets a new process."""


class SlowLoadError(RemitError):
    """A tenant was not loaded within the time that it was given. The next look gets a new process."""


@dataclass(frozen=True, slots=True)
class _Shipped:
    """What comes over the wire in place of a snapshot: its policy without rows. The rows follow in chunks, rules, links
    and reach rows, and then the archive, each kind closed by an empty chunk."""

    built: Built
    policy: Policy


class _Wire(Protocol):
    def write(self, content: bytes, /) -> int: ...

    def flush(self) -> None: ...


class Worker:
    """Carries out orders in a process of its own, which starts with the first one. Not to be shared between threads."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._stream: Any = None
        self._ended = False

    def carry_out(
        self, order: Look | Recall, within_s: float | None = None, pace: Pace = resting
    ) -> Generator[Found, None, None]:
        """As `look.carry_out`; also raises WorkerEndedError, and SlowLoadError where a tenant takes longer than `within_s`
        seconds to get here. Snapshots are compiled here, at a pace that lets calls pass unless another one is given."""
        stream = self._started()
        clock = _Clock(stream, order.limits.seconds + _OVERTIME_S)
        done = False
        try:
            with stream.makefile("rwb") as file:
                pickle.dump(order, file)
                file.flush()
                reader = _Reader(pickle.Unpickler(file), clock, pace)  # noqa: S301 (what our own process says)
                while (found := reader.load()) is not None:
                    if isinstance(found, Exception):
                        done = True
                        raise found
                    if isinstance(found, Begun):
                        clock.start(within_s)
                    unpacked = _unpacked(found, reader) if isinstance(found, _Shipped) else found
                    if isinstance(unpacked, Built):
                        clock.start(None)
                    yield unpacked
            done = True
        except (EOFError, TimeoutError, ConnectionError, pickle.UnpicklingError) as error:
            if done:
                raise
            if clock.is_over:
                raise SlowLoadError(f"it takes longer than {within_s:g} s") from error
            raise WorkerEndedError(f"the process that loads policies ended or hung: {error!r}") from error
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

    def _started(self) -> Any:
        if self._ended:
            raise WorkerEndedError("the server is stopping")
        if self._process is None or self._process.poll() is not None:
            self.close()
            try:
                self._process, self._stream = start_child(__name__, serve.__name__)
            except OSError as error:
                raise WorkerEndedError(
                    f"the process that loads policies cannot be started: {error.strerror}"
                ) from error
        return self._stream


class _Clock:
    """The time that the present tenant has left; beside it, the longest that the process may say nothing."""

    def __init__(self, stream: socket.socket, silence_s: float) -> None:
        self._stream = stream
        self._silence_s = silence_s
        self._ends_at: float | None = None
        stream.settimeout(silence_s)

    def start(self, within_s: float | None) -> None:
        self._ends_at = time.monotonic() + within_s if within_s is not None else None
        self._stream.settimeout(self._silence_s)

    @property
    def is_over(self) -> bool:
        return self._ends_at is not None and time.monotonic() >= self._ends_at

    def check(self) -> None:
        """Raises TimeoutError where the tenant's time is over; bounds what is received next."""
        if self._ends_at is not None:
            left_s = self._ends_at - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            self._stream.settimeout(max(min(left_s, self._silence_s), _LEAST_S))

    def checked(self, items: Iterable[_Item], /) -> Iterator[_Item]:
        for number, item in enumerate(items):
            if number % _CLOCK_EVERY == 0:
                self.check()
            yield item


class _Reader:
    """What the process says, a message at a time."""

    def __init__(self, messages: pickle.Unpickler, clock: _Clock, pace: Pace) -> None:
        self._messages = messages
        self._clock = clock
        self._pace = pace

    def load(self) -> Any:
        self._clock.check()
        return self._messages.load()

    def pace(self, items: Iterable[_Item], /) -> Iterator[_Item]:
        return self._clock.checked(self._pace(items))


def serve(descriptor: int) -> None:
    """The process: carries out orders until nobody sends any more."""
    leave_signals_to_parent()
    os.nice(_NICE)
    with socket.socket(fileno=descriptor) as stream, stream.makefile("rwb") as file:
        try:
            while True:
                order = pickle.load(file)  # noqa: S301 (what our own process says)
                _answer(order, file)
        except (EOFError, ConnectionError):
            return


def _answer(order: Look | Recall, file: _Wire) -> None:
    # One pickler for all of an answer: a name that many rows share travels once, and is one text at the other end too.
    writer = pickle.Pickler(file, pickle.HIGHEST_PROTOCOL)
    try:
        for found in carry_out(order):
            for message in _packed(found):
                writer.dump(message)
            file.flush()
    except (OSError, RemitError) as error:
        writer.dump(error)
    else:
        writer.dump(None)
    file.flush()


def _packed(found: Found) -> Iterator[object]:
    if not isinstance(found, Built) or found.snapshot is None:
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


def _unpacked(shipped: _Shipped, reader: _Reader) -> Built:
    rules, links, reach = (tuple(reader.pace(_rows(reader))) for _ in range(3))
    archive = b"".join(reader.pace(iter(reader.load, b"")))
    policy = replace(shipped.policy, rules=rules, links=links, reach=reach)
    return replace(shipped.built, snapshot=Snapshot(policy, reader.pace), archive=archive)


def _rows(reader: _Reader) -> Iterator[Any]:
    while chunk := reader.load():
        yield from chunk
