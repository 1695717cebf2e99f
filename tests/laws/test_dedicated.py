from random import Random

from hypothesis import given
from reference import Reference
from strategies import RESOURCES, World, namespace_text, pick, randoms, worlds
from support.trees import snapshot_of
from worldly import snapshots, tenants

from remit.core.names import NAMESPACE_LIMIT, Namespace
from remit.core.patterns import NamespacePattern
from remit.core.policy import Policy, ResourceType
from remit.engine.queries.dedicated import ServedBy, resolve

NAMES = sorted({name for entries in RESOURCES.values() for name in entries} | {"nobody"})


def namespaces(policy: Policy, world: World, random: Random) -> list[Namespace]:
    """Those that name something, and what is above, below and beside each; the tenant itself; others."""
    found = {""} if policy.is_instance else {"", *policy.dedicated}
    for level in list(found):
        beside = [level.rpartition(".")[0], f"{level}.{pick(random, world.segments)}", f"{level}.x.y", f"{level}x"]
        found |= {each.removeprefix(".") for each in beside}
    found |= {namespace_text(random, world.segments) for _ in range(5)}
    if policy.is_instance:
        return [Namespace("")]
    return [Namespace(each) for each in sorted(found) if len(each) <= NAMESPACE_LIMIT]


@given(worlds, randoms)
def test_engine_equals_reference(world: World, random: Random) -> None:
    """The resource that serves a namespace, and its level, are those of the naive reference."""
    for tenant in tenants(world):
        policy, reference = snapshot_of(world.files, tenant).policy, Reference(world.files, tenant)
        for namespace in namespaces(policy, world, random):
            for resource_type in ResourceType:
                found = resolve(policy, namespace, resource_type)
                answer = found and (found.resource.name, found.level)
                assert reference.dedicated(namespace, resource_type) == answer


@given(worlds, randoms)
def test_a_resource_serves_exactly_the_namespaces_that_resolve_to_it(world: World, random: Random) -> None:
    """The tenant itself too. Each pattern is one that a person could write."""
    for snapshot in snapshots(world):
        asked = namespaces(snapshot.policy, world, random)
        for resource_type in ResourceType:
            for name in NAMES:
                served = ServedBy(resource_type, name).answer(snapshot)
                for namespace in asked:
                    found = resolve(snapshot.policy, namespace, resource_type)
                    within = (
                        any(each.contains(namespace) for each in served.namespaces)
                        if namespace
                        else served.whole_tenant
                    )
                    assert (found is not None and found.resource.name == name) == within
                for each in served.namespaces:
                    for pattern in (*each.only, *each.excluded):
                        assert pattern == NamespacePattern.parse(pattern.text)


@given(worlds)
def test_open_tenants_are_listed_only_in_the_instance(world: World) -> None:
    """Those that each resource is open to, and to a tenant none of them."""
    for snapshot in snapshots(world):
        for resource_type in ResourceType:
            for name in NAMES:
                opened = sorted(RESOURCES[resource_type].get(name, ())) if snapshot.policy.is_instance else []
                assert opened == list(ServedBy(resource_type, name).answer(snapshot).tenants)
