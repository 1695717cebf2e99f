"""Rules about dedicated resources: the tenants that may use them, and the level at which they are set."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from remit.core.names import WHOLE_TENANT, Namespace, Tenant
from remit.core.patterns import NamespacePattern
from remit.core.policy import ResourceType
from remit.engine.queries.dedicated import resolve
from remit.policy.lint.context import LintedTenant
from remit.policy.lint.finding import LintFinding, RuleId
from remit.policy.lint.sources import PolicySources
from remit.policy.read.manifests import Resources
from remit.policy.read.tree import RESOURCES

_MANIFEST = "tenant.yaml"


def opened_too_widely(
    resources: Resources, tenants: Mapping[Tenant, LintedTenant], texts: PolicySources
) -> Iterator[LintFinding]:
    for section, entries in resources.items():
        users = _users(section, tenants)
        for name in entries:
            for entry in texts.items(RESOURCES, section, name, "tenants"):
                if entry.text not in users[name]:
                    why = "does not name it" if entry.text in tenants else "does not exist"
                    yield LintFinding(
                        RESOURCES,
                        entry.line,
                        entry.column,
                        RuleId.RESOURCE_OPENED_TOO_WIDELY,
                        f"{section} `{name}` is open to tenant `{entry.text}`, which {why}",
                    )


def wants_a_namespace(
    resources: Resources, tenants: Mapping[Tenant, LintedTenant], texts: PolicySources
) -> Iterator[LintFinding]:
    for section in resources:
        users = _users(section, tenants)
        for key, _ in texts.entries(RESOURCES, section):
            if len(users[key.text]) > 1:
                names = ", ".join(f"`{tenant}`" for tenant in sorted(users[key.text]))
                yield LintFinding(
                    RESOURCES,
                    key.line,
                    key.column,
                    RuleId.WANTS_A_NAMESPACE,
                    f"{section} `{key.text}` serves {names}: what they share, one tenant with a namespace for each can govern",
                )


def _users(section: ResourceType, tenants: Mapping[Tenant, LintedTenant]) -> Mapping[str, set[Tenant]]:
    users: defaultdict[str, set[Tenant]] = defaultdict(set)
    for name, tenant in tenants.items():
        for named in tenant.policy.dedicated.values():
            if section in named:
                users[named[section].name].add(name)
    return users


def dedicated_too_high(tenant: LintedTenant) -> Iterator[LintFinding]:
    if not any(tenant.policy.dedicated.values()):
        return
    known = _known_namespaces(tenant)
    served: defaultdict[tuple[Namespace, ResourceType], list[Namespace]] = defaultdict(list)
    for namespace in known:
        for resource in ResourceType:
            found = resolve(tenant.policy, namespace, resource)
            if found is not None:
                served[found.level, resource].append(namespace)
    for level, named in tenant.policy.dedicated.items():
        for resource, dedicated in named.items():
            needed = _common(served[level, resource])
            if needed is None or needed == level:
                continue
            where = f"namespace `{level}`" if level else "the tenant"
            keys = ("namespaces", level) if level else ()
            file = f"{tenant.name}/{_MANIFEST}"
            key = next(key for key, _ in tenant.texts.entries(file, *keys, "dedicated") if key.text == resource)
            yield LintFinding(
                file,
                key.line,
                key.column,
                RuleId.DEDICATED_TOO_HIGH,
                f"{resource} `{dedicated.name}` is set for {where}, and all that it serves there, of the namespaces the "
                f"rows name, is in `{needed}`",
            )


def _known_namespaces(tenant: LintedTenant) -> list[Namespace]:
    """Every namespace that a row names: its patterns up to their first `*`."""
    policy = tenant.policy
    patterns: set[NamespacePattern] = {rule.namespaces for rule in tenant.own_rules}
    patterns |= {link.scope for link in policy.links}
    patterns |= {pattern for rule in policy.reach for pattern in (rule.caller, rule.owner)}
    return sorted({namespace for pattern in patterns if (namespace := _literal(pattern))})


def _literal(pattern: NamespacePattern) -> Namespace:
    segments = pattern.segments
    return Namespace(".".join(segments[: segments.index("*")] if "*" in segments else segments))


def _common(namespaces: Sequence[Namespace]) -> Namespace | None:
    """The lowest namespace that contains all of `namespaces`; the tenant if there is none; None for no namespaces."""
    if not namespaces:
        return None
    # In sorted order, the first and the last differ earliest.
    first, last = (each.split(".") for each in (min(namespaces, key=_parts), max(namespaces, key=_parts)))
    shared = next(
        (index for index, (one, two) in enumerate(zip(first, last, strict=False)) if one != two),
        min(len(first), len(last)),
    )
    return Namespace(".".join(first[:shared])) or WHOLE_TENANT


def _parts(namespace: Namespace) -> list[str]:
    return namespace.split(".")
