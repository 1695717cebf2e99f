from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from remit.service.version import VERSION

TENANTS: Final = 500
"""So many tenants have samples of their own: with more, a scrape would take seconds."""
OTHERS: Final = "(others)"
"""The label of all other tenants together. It is no tenant's name."""
_CALL_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """The metrics that Prometheus scrapes. One registry per server, nothing global."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        Info("remit_build", "The version of remit, as the label `version`.", registry=self.registry).info(
            {"version": VERSION}
        )
        self._decisions = Counter(
            "remit_decisions",
            "Decisions answered. `tenant` is empty for tenants that are not configured, and bounded.",
            ("tenant", "effect", "reason"),
            registry=self.registry,
        )
        self._by_labels: dict[tuple[str, str, str], Counter] = {}
        self._decided, self._loaded = {""}, {""}
        """The tenants with samples of their own."""
        self._calls = Histogram(
            "remit_call_seconds",
            "Time from a call's arrival in a thread to its answer, its audit record included.",
            ("method", "code"),
            buckets=_CALL_BUCKETS,
            registry=self.registry,
        )
        self._by_call: dict[tuple[str, str], Histogram] = {}
        self._refused = Counter(
            "remit_calls_refused",
            "Calls refused because a limit or a share was used up, by class and reason.",
            ("calls", "reason"),
            registry=self.registry,
        )
        self._commits = Histogram(
            "remit_audit_commit_seconds",
            "Time of one audit transaction, its fdatasync included.",
            buckets=_CALL_BUCKETS,
            registry=self.registry,
        )
        self._committed = Counter("remit_audit_records", "Audit records committed.", registry=self.registry)
        self._unrecorded = Counter(
            "remit_audit_unrecorded",
            "Allows counted and not recorded, by `audit_sample_allows`.",
            registry=self.registry,
        )
        self._sent = Counter(
            "remit_audit_otlp_sent", "Records the collector of `audit_otlp` received.", registry=self.registry
        )
        self._not_sent = Counter(
            "remit_audit_otlp_dropped",
            "Records the collector did not receive. They are in the audit store.",
            registry=self.registry,
        )
        self._purged = Counter("remit_audit_purged", "Decisions deleted by `audit_retention`.", registry=self.registry)
        self._retained = Counter(
            "remit_audit_retention_runs", "Runs of the retention job, by outcome.", ("outcome",), registry=self.registry
        )
        self._loads = Counter(
            "remit_policy_loads",
            "Policy folders loaded or refused, at the start and on each change. `tenant` is empty for the root files, and bounded.",
            ("tenant", "outcome"),
            registry=self.registry,
        )

    def loaded(self, tenant: str, *, refused: bool) -> None:
        self._loads.labels(_label(tenant, self._loaded), "refused" if refused else "loaded").inc()

    def decided(self, tenant: str, effect: str, reason: str, count: int = 1) -> None:
        labels = (tenant, effect, reason)
        counter = self._by_labels.get(labels)
        if counter is None:
            counter = self._by_labels[labels] = self._decisions.labels(_label(tenant, self._decided), effect, reason)
        counter.inc(count)

    def called(self, method: str, code: str, seconds: float) -> None:
        histogram = self._by_call.get((method, code))
        if histogram is None:
            histogram = self._by_call[method, code] = self._calls.labels(method, code)
        histogram.observe(seconds)

    def refused(self, calls: str, reason: str) -> None:
        self._refused.labels(calls, reason).inc()

    def committed(self, records: int, seconds: float) -> None:
        self._committed.inc(records)
        self._commits.observe(seconds)

    def unrecorded(self, decisions: int) -> None:
        self._unrecorded.inc(decisions)

    def sent(self, records: int) -> None:
        self._sent.inc(records)

    def not_sent(self, records: int) -> None:
        self._not_sent.inc(records)

    def purged(self, decisions: int) -> None:
        self._purged.inc(decisions)

    def retained(self, *, failed: bool) -> None:
        self._retained.labels("failed" if failed else "done").inc()

    def scraped(self) -> list[Metric]:
        """The metrics that a scrape would return now. Raises AuditStoreError if the audit store cannot be measured."""
        return list(self.registry.collect())


def _label(tenant: str, own: set[str]) -> str:
    """The first tenants have a label of their own, all others share one."""
    if len(own) <= TENANTS:
        own.add(tenant)
    return tenant if tenant in own else OTHERS


class WorkersMetrics:
    """The metrics of a supervisor, and the metrics of its workers. Each sample of a worker has the label `worker`."""

    def __init__(self, scrape: Callable[[], Mapping[str, list[Metric]]]) -> None:
        """`scrape` returns the metrics of each worker that serves, by the worker's name."""
        self.registry = CollectorRegistry()
        self.serving = Gauge(
            "remit_worker_serving", "1 while the worker answers calls.", ("worker",), registry=self.registry
        )
        self.restarts = Counter("remit_worker_restarts", "Restarts of the worker.", ("worker",), registry=self.registry)
        self.registry.register(_Workers(scrape))


class _Workers(Collector):
    def __init__(self, scrape: Callable[[], Mapping[str, list[Metric]]]) -> None:
        self._scrape = scrape

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        together: dict[str, Metric] = {}
        for worker, families in self._scrape().items():
            for each in families:
                family = together.setdefault(each.name, Metric(each.name, each.documentation, each.type, each.unit))
                family.samples += [
                    sample._replace(labels={**sample.labels, "worker": worker}) for sample in each.samples
                ]
        return together.values()
