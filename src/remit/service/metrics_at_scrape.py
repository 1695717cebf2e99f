"""The metrics of a server that are read at each scrape: from its policies, calls, shadow and audit store."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from heapq import nsmallest

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from remit.audit.journal.journal import Journal
from remit.audit.spool.store_and_forward import StoreAndForward
from remit.core.names import Tenant
from remit.fleet.errors import PolicyStoreError
from remit.fleet.journal import ReleaseJournal
from remit.fleet.node_report import behind_of
from remit.policy.live import LivePolicies, TenantPolicy, TenantState
from remit.service.disk_space import AuditSpace
from remit.service.metrics import TENANTS
from remit.service.shadow.shadow import Shadow


def watch_calls(registry: CollectorRegistry, in_flight: Callable[[], Mapping[str, int]]) -> None:
    """Adds the number of calls in flight, by class."""
    registry.register(_WatchedCalls(in_flight))


def watch_keys(registry: CollectorRegistry, ages_s: Callable[[], Mapping[str, float]]) -> None:
    """Adds the age of the keys that verify tokens, by issuer."""
    registry.register(_WatchedKeys(ages_s))


def watch_shadow(registry: CollectorRegistry, shadow: Shadow) -> None:
    registry.register(_WatchedShadow(shadow))


def watch_policies_and_audit(
    registry: CollectorRegistry,
    live: LivePolicies,
    journal: Journal,
    space: AuditSpace,
    *,
    spooling: StoreAndForward | None,
    clock_us: Callable[[], int],
) -> None:
    registry.register(_Watched(live, journal, space, clock_us))
    if spooling is not None:
        registry.register(_WatchedSpool(spooling))


def watch_policy_store(registry: CollectorRegistry, journal: ReleaseJournal) -> None:
    """Adds the release that the policy files are from, the age of the last look into the policy store, and the fleet."""
    registry.register(_WatchedStore(journal))


class _WatchedStore(Collector):
    def __init__(self, journal: ReleaseJournal) -> None:
        self._journal = journal

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return ()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        try:
            current = self._journal.current()
        except PolicyStoreError:
            current = None
        seq = current.seq if current is not None else 0
        yield _gauge("remit_policy_release", "Number of the release that the policy files are from.", seq)
        yield _gauge(
            "remit_policy_age_seconds",
            "Time since the policy store was last looked into with success. Infinite before the first time.",
            self._journal.age_s(),
        )
        yield _gauge(
            "remit_policy_store_healthy",
            "1 unless the last look into the policy store failed.",
            float(not self._journal.state().error),
        )
        live = [each for each in self._journal.nodes() if each.is_live]
        yield _gauge("remit_fleet_nodes", "Nodes that reported to the policy store lately.", len(live))
        yield _gauge(
            "remit_fleet_behind",
            "Nodes among them that do not serve the newest release that one of them has.",
            len(behind_of(live)),
        )


class _WatchedCalls(Collector):
    def __init__(self, in_flight: Callable[[], Mapping[str, int]]) -> None:
        self._in_flight = in_flight

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return ()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily("remit_calls_in_flight", "Calls in flight, by class.", labels=("calls",))
        for calls, count in self._in_flight().items():
            family.add_metric((calls,), count)
        yield family


class _WatchedKeys(Collector):
    def __init__(self, ages_s: Callable[[], Mapping[str, float]]) -> None:
        self._ages_s = ages_s

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return ()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "remit_jwks_age_seconds",
            "Time since the issuer's keys were read or found unchanged. Infinite before the first time.",
            labels=("issuer",),
        )
        for issuer, age_s in self._ages_s().items():
            family.add_metric((issuer,), age_s)
        yield family


class _WatchedShadow(Collector):
    def __init__(self, shadow: Shadow) -> None:
        self._shadow = shadow

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return ()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        report = self._shadow.report
        total = report.total
        loaded = report.running and bool(report.tree_revision) and not report.errors
        yield _gauge("remit_shadow_loaded", "1 while the whole candidate is loaded and decides.", float(loaded))
        yield _gauge("remit_shadow_decided", "Decisions made by the candidate since it was loaded.", total.decided)
        yield _gauge(
            "remit_shadow_differing",
            "Decisions whose effect the candidate would change, since it was loaded.",
            total.differing,
        )
        yield _gauge(
            "remit_shadow_dropped", "Decisions dropped because the candidate used its share of a core.", report.dropped
        )


class _WatchedSpool(Collector):
    def __init__(self, spooling: StoreAndForward) -> None:
        self._spooling = spooling

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return ()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        status = self._spooling.status
        yield _gauge("remit_audit_spooling", "1 while audit records go to the spool.", float(status.spooling))
        yield _gauge("remit_audit_spool_records", "Audit records that wait in the spool.", status.records)
        yield _gauge("remit_audit_spool_bytes", "Size of the records that wait in the spool, in bytes.", status.size)


class _Watched(Collector):
    def __init__(self, live: LivePolicies, journal: Journal, space: AuditSpace, clock_us: Callable[[], int]) -> None:
        self._live = live
        self._journal = journal
        self._space = space
        self._clock_us = clock_us

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return ()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        yield from tenant_metrics(self._live.tenants, self._clock_us())
        stats = self._journal.stats()
        yield _gauge(
            "remit_audit_healthy",
            "1 while audit records are written; while 0, decisions are refused at once.",
            float(stats.healthy),
        )
        yield _gauge("remit_audit_queue", "Audit records waiting for their commit.", stats.queued)
        yield _gauge("remit_audit_lost", "Accepted audit records given up. Anything but 0 is an incident.", stats.lost)
        taken, free = self._space.taken(), self._space.free()
        if taken is not None:
            yield _gauge("remit_audit_store_bytes", "Size of the audit store, in bytes.", taken)
        if free is not None:
            yield _gauge("remit_audit_free_bytes", "Free bytes on the disk of the audit store.", free)


def tenant_metrics(tenants: Mapping[Tenant, TenantPolicy], now_us: int) -> Iterable[GaugeMetricFamily]:
    """The metrics of tenants. Of many, those that do not serve their newest files are named first."""
    state = GaugeMetricFamily(
        "remit_tenant_state", "1 for the state a tenant is in. `tenant` is bounded.", labels=("tenant", "state")
    )
    age = GaugeMetricFamily(
        "remit_tenant_state_age_seconds",
        "Time since the tenant's state or revision changed. `tenant` is bounded.",
        labels=("tenant",),
    )
    for policy in nsmallest(TENANTS, tenants.values(), lambda each: (each.state is TenantState.SERVING, each.tenant)):
        for each in TenantState:
            state.add_metric((policy.tenant, each.value), float(policy.state is each))
        age.add_metric((policy.tenant,), (now_us - policy.since_us) / 1e6)
    in_state = Counter(policy.state for policy in tenants.values())
    together = GaugeMetricFamily("remit_tenants", "Tenants in each state.", labels=("state",))
    for each in TenantState:
        together.add_metric((each.value,), in_state[each])
    yield from (state, age, together)


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, value=value)
