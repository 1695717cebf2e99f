"""A child process, and the pickled messages that it and its parent exchange over a socket pair."""

import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from threading import Lock, Thread
from typing import Any, Final

from remit.core.errors import RemitError
from remit.process.errors import ChannelError, ChildEndedError

_PARENT_EVERY_S: Final = 1.0


class Channel:
    """One end of the socket pair. Not to be shared between threads without a lock.

    Methods raise ChannelError if the other end is gone, and TimeoutError if it is silent for longer than `set_timeout`
    allows. After a timeout the channel cannot be used any more.
    """

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._file = stream.makefile("rwb")

    def set_timeout(self, timeout_s: float | None) -> None:
        self._stream.settimeout(timeout_s)

    def send(self, message: object) -> None:
        self.send_all([message])

    def send_all(self, messages: Iterable[object]) -> None:
        """Sends an object that several messages share once; it is one object at the other end too."""
        pickler = pickle.Pickler(self._file, pickle.HIGHEST_PROTOCOL)
        for message in messages:
            with _other_end():
                pickler.dump(message)
                self._file.flush()

    def receive(self) -> Any:
        return next(self.receive_all())

    def receive_all(self) -> Iterator[Any]:
        """Yields the messages of one `send_all`, without end: the caller must know which is the last."""
        unpickler = pickle.Unpickler(self._file)  # noqa: S301 (from a process of our own)
        while True:
            with _other_end():
                message = unpickler.load()
            yield message

    def request(self, message: object) -> Any:
        self.send(message)
        return self.receive()

    def wait(self, timeout_s: float) -> bool:
        """Whether there is something to receive, or the other end is gone."""
        return bool(select.select([self._stream], [], [], timeout_s)[0])

    def shut_down(self) -> None:
        """Ends the channel, from any thread: both ends get ChannelError when they receive."""
        self._stream.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        # What could not be sent is flushed once more when the file is closed.
        with suppress(OSError):
            self._file.close()
        self._stream.close()


@contextmanager
def _other_end() -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise
    except (EOFError, OSError, pickle.UnpicklingError) as error:
        raise ChannelError(repr(error)) from error


class ChildProcess:
    """A Python process that calls `function` of `module` with the descriptor of its end of a channel. The first request
    starts it; after it has ended, the next request starts another.

    One thread at a time makes requests; `stop`, `kill` and `terminate` may come from any thread. `close` leaves no
    process and no descriptor behind.
    """

    def __init__(self, name: str, module: str, function: str, first: object = None) -> None:
        """`name` is for errors. `first` is the message that each new process gets first; None for none."""
        self._name = name
        self._entry = module, function
        self._first = first
        self._mutex = Lock()
        """Held to start a process; none starts after `stop`."""
        self._stopped = False
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self.exit_code: int | None = None
        """The exit code of the last process that ended."""

    def request(self, message: object) -> Any:
        """Raises ChildEndedError."""
        with self.channel() as channel:
            return channel.request(message)

    def answer(self, request: object, timeout_s: float, late: RemitError) -> Any:
        """The answer of a process that runs `answer_requests`. Raises the error that it answers with, `late` if it takes
        longer than `timeout_s`, and ChildEndedError."""
        try:
            with self.channel(timeout_s) as channel:
                answer = channel.request(request)
        except ChildEndedError as error:
            if isinstance(error.__cause__, TimeoutError):
                raise late from None
            raise
        if isinstance(answer, Exception):
            raise answer
        return answer

    def answer_once(self, request: object, timeout_s: float, late: RemitError) -> Any:
        """The same, and the process ends: for an answer that leaves much in its memory."""
        try:
            return self.answer(request, timeout_s, late)
        finally:
            self.close()

    @contextmanager
    def channel(self, timeout_s: float | None = None) -> Iterator[Channel]:
        """For a request and all of its answers. An exception in the block ends the process, because a late answer must
        not reach the next request.

        Raises ChildEndedError if the process cannot be started, ends, or does nothing for `timeout_s`. Then the
        TimeoutError is its cause.
        """
        try:
            channel = self._started()
            channel.set_timeout(timeout_s)
            yield channel
        except (ChannelError, TimeoutError) as error:
            self.close()
            reason = error if isinstance(error, ChannelError) else repr(error)
            raise ChildEndedError(f"{self._name} ended or hung: {reason}") from error
        except BaseException:
            self.close()
            raise

    def _started(self) -> Channel:
        if self._channel is not None and self._process is not None and self._process.poll() is None:
            return self._channel
        self.close()
        try:
            channel = self.start()
        except OSError as error:
            raise ChildEndedError(f"{self._name} cannot be started: {error.strerror}") from error
        if self._first is not None:
            channel.send(self._first)
        return channel

    def start(self) -> Channel:
        """Starts the process; a caller that uses `channel` need not. Raises OSError."""
        module, function = self._entry
        with self._mutex:
            if self._stopped:
                raise ChildEndedError("the server is stopping")
            ours, theirs = socket.socketpair()
            # -P: a file of the working directory must not replace a module.
            # Imported modules stay: the garbage collector need not scan them.
            imported = f"import gc; gc.disable(); from {module} import {function}; gc.freeze(); gc.enable()"
            given = "from remit.process.memory import give_back_large_blocks; give_back_large_blocks()"
            command = [sys.executable, "-P", "-c", f"{imported}; {given}; {function}({theirs.fileno()})"]
            with theirs:
                try:
                    self._process = subprocess.Popen(  # noqa: S603 (our own interpreter)
                        command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
                    )
                except BaseException:
                    ours.close()
                    raise
            self._channel = Channel(ours)
            return self._channel

    def stop(self) -> None:
        """Aborts the work in progress and starts nothing more."""
        with self._mutex:
            self._stopped = True
        self.kill()

    def kill(self) -> None:
        if (process := self._process) is not None:
            process.kill()

    def terminate(self) -> None:
        if (process := self._process) is not None:
            process.terminate()

    def join(self, timeout_s: float | None = None) -> int | None:
        """Closes the channel, waits for the end of the process and returns its exit code; None if it still runs."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is not None:
            try:
                self.exit_code = self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                return None
            self._process = None
        return self.exit_code

    def close(self) -> None:
        self.kill()
        self.join()


def leave_signals_to_parent() -> None:
    """Ctrl-C and the end of a terminal signal every process. The parent drains first, then ends its children."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def channel_to_parent(descriptor: int, nice: int) -> Iterator[Channel]:
    """For a child that only serves its parent: it ends when the parent ends, even during its work. The block ends
    without an error when the parent closes its end."""
    leave_signals_to_parent()
    os.nice(nice)
    Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    with suppress(ChannelError), closing(Channel(socket.socket(fileno=descriptor))) as channel:
        yield channel


def answer_requests(descriptor: int, nice: int, answer: Callable[[Any], object]) -> None:
    """All that a child does which answers one request after another. A RemitError is an answer too."""
    with channel_to_parent(descriptor, nice) as channel:
        while True:
            channel.send(answer_or_error(answer, channel.receive()))


def answer_or_error(answer: Callable[[Any], object], request: Any) -> object:
    try:
        return answer(request)
    except RemitError as error:
        return error


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_EVERY_S)
    os._exit(1)
