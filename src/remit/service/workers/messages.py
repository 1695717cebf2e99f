"""What a supervisor and its workers say to each other, over a socket that each worker has of its own."""

import pickle
import socket
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from remit.service.settings import Settings


@dataclass(frozen=True, slots=True)
class Order:
    """To a worker, first of all."""

    settings: Settings
    workers: tuple["WorkerReport", ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """From a worker that does not start."""

    told: str


@dataclass(frozen=True, slots=True)
class Ready:
    """From a worker that has all it needs to answer calls."""


@dataclass(frozen=True, slots=True)
class Begin:
    """To a worker that is ready: answer calls. Once it does it says Serving, and then only what it is asked."""


@dataclass(frozen=True, slots=True)
class Serving:
    pass


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """How a worker is."""

    node: str
    serving: bool = False
    restarts: int = 0
    """How often it was started anew."""
    started_us: int = 0
    policies: str = ""
    """SHA-256 over the state and revision of every tenant: workers with the same one serve the same."""
    committed: int = 0
    """Audit records on disk since it started."""
    error: str = ""
    """Why it cannot record; '' where it can."""


@dataclass(frozen=True, slots=True)
class WorkerReports:
    """To a worker, every second: how all of them are. It answers with its own WorkerReport."""

    workers: tuple[WorkerReport, ...]


@dataclass(frozen=True, slots=True)
class Scrape:
    """To a worker, which answers with a list of its metrics."""


class Wire:
    """One end of the socket. Not to be shared between threads without a lock."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self._file = stream.makefile("rwb")

    def tell(self, message: object) -> None:
        """Raises OSError where the other end is gone or, as `hear`, does not answer in the stream's timeout."""
        pickle.dump(message, self._file)
        self._file.flush()

    def hear(self) -> Any:
        """Raises EOFError or OSError where nothing more comes."""
        return pickle.load(self._file)  # noqa: S301 (what our own process says)

    def ask(self, message: object) -> Any:
        self.tell(message)
        return self.hear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._file.close()
        self.stream.close()
