from dataclasses import dataclass
from typing import Any, Self

from remit.audit.errors import AuditStoreError
from remit.audit.store.shards import worker_file, worker_url
from remit.service.errors import StartupError
from remit.service.settings import Settings, worker_node


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """The settings of one server process, and those of its node."""

    own: Settings
    """Of this process: a worker has its own node name, audit file, spool and port."""
    node: Settings
    """As they were given."""
    number: int = 0
    """Of the worker, from 1; 0 for a single server."""

    @classmethod
    def single(cls, settings: Settings) -> Self:
        """A server without workers."""
        return cls(settings, settings)

    @classmethod
    def worker(cls, settings: Settings, number: int, port: int, http_port: int) -> Self:
        """Worker `number` of a node. All workers share `port` and `http_port`; the supervisor serves the metrics.

        Raises StartupError if `audit` cannot be used for workers.
        """
        host, _, _ = settings.listen.rpartition(":")
        try:
            own: dict[str, Any] = {
                "node": worker_node(settings.node, number),
                "audit": worker_url(settings.audit, number),
            }
        except AuditStoreError as error:
            raise StartupError(str(error)) from error
        if settings.audit_spool is not None:
            own["audit_spool"] = worker_file(settings.audit_spool, number)
        own |= {"listen": f"{host}:{port}", "metrics": ""}
        if settings.http:
            own["http"] = f"{settings.http.rpartition(':')[0]}:{http_port}"
        return cls(settings.model_copy(update=own), settings, number)

    @property
    def is_first(self) -> bool:
        """True for a single server and for worker 1, which cleans up after removed workers."""
        return self.number <= 1
