from collections.abc import Iterator, Mapping

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from remit.core.names import Tenant
from remit.policy.live import LivePolicies, TenantPolicy, TenantState
from remit.service import metrics_at_scrape
from remit.service.metrics import OTHERS, TENANTS, Metrics

MANY = [Tenant(f"t{number:04}") for number in range(TENANTS + 100)]


def samples(registry: CollectorRegistry, name: str) -> Iterator[tuple[Mapping[str, str], float]]:
    for family in registry.collect():
        yield from ((each.labels, each.value) for each in family.samples if each.name == name)


class Watched:
    """What a scrape finds of these tenants."""

    def __init__(self, live: LivePolicies) -> None:
        self._live = live

    def collect(self) -> Iterator[Metric]:
        yield from metrics_at_scrape.tenant_metrics(self._live.tenants, 0)


@pytest.mark.parametrize("name", ["remit_decisions_total", "remit_policy_loads_total"])
def test_counters_of_many_tenants_name_some_and_lose_none(name: str) -> None:
    metrics = Metrics()
    for tenant in ("", *MANY, *MANY):
        metrics.decided(tenant, "allow", "RULE")
        metrics.loaded(tenant, refused=False)

    found = {labels["tenant"]: count for labels, count in samples(metrics.registry, name)}

    assert {"", *MANY[:TENANTS], OTHERS} == found.keys()
    assert (2.0, 200.0) == (found[MANY[0]], found[OTHERS])


def test_states_of_many_tenants_name_those_that_do_not_serve_and_count_all() -> None:
    live, registry = LivePolicies(), CollectorRegistry()
    for tenant in MANY:
        state = TenantState.STALE if tenant == MANY[-1] else TenantState.SERVING
        live.put(TenantPolicy(tenant, state, 0, None))
    registry.register(Watched(live))

    found = {labels["tenant"] for labels, _ in samples(registry, "remit_tenant_state")}

    assert {*MANY[: TENANTS - 1], MANY[-1]} == found
    counts = {labels["state"]: count for labels, count in samples(registry, "remit_tenants")}
    assert {"SERVING": len(MANY) - 1, "STALE": 1, "UNAVAILABLE": 0, "PINNED": 0} == counts
