"""What a supervisor and its workers say to each other, over the channel that each worker has of its own."""

from dataclasses import dataclass

from remit.service.workers.process_settings import ProcessSettings


@dataclass(frozen=True, slots=True)
class Order:
    """To a worker, first of all."""

    process: ProcessSettings
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
