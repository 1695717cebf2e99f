"""The messages between a supervisor and its workers. Each worker has its own channel."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from remit.service.limits_hit import HitCount, LimitHit
from remit.service.workers.process_settings import ProcessSettings


@dataclass(frozen=True, slots=True)
class Order:
    """To a worker, the first message."""

    process: ProcessSettings
    workers: tuple["WorkerReport", ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """From a worker that does not start."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ready:
    """From a worker that is ready to answer calls."""


@dataclass(frozen=True, slots=True)
class Begin:
    """To a worker that is ready: answer calls. The worker replies Serving; after that it only answers requests."""


@dataclass(frozen=True, slots=True)
class Serving:
    pass


@dataclass(frozen=True, slots=True)
class WorkerReport:
    node: str
    serving: bool = False
    restarts: int = 0
    """How often the worker was restarted."""
    started_us: int = 0
    policies: str = ""
    """SHA-256 over the state and revision of every tenant: two workers with the same value serve the same policies."""
    committed: int = 0
    """Audit records on disk since the worker started."""
    error: str = ""
    """Why the worker cannot record; '' if it can."""
    behind: tuple[str, ...] = ()
    """Tenants that serve something else than the newest release on this node, and why."""
    limits_hit: Mapping[LimitHit, HitCount] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkerReports:
    """To a worker, every second: the state of all workers. The worker answers with its own WorkerReport."""

    workers: tuple[WorkerReport, ...]


@dataclass(frozen=True, slots=True)
class Scrape:
    """To a worker: asks for a list of its metrics."""


@dataclass(frozen=True, slots=True)
class MayScrape:
    """Asks a worker whether the caller with this certificate may read the metrics. It answers with a bool."""

    certificate: bytes
    """PEM."""
