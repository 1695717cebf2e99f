from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from remit.core.dedicated import Dedicated, Resolution, Served
from remit.core.errors import violation
from remit.core.names import INSTANCE, WHOLE_TENANT, Namespace, Word
from remit.core.namespace_set import NamespaceSet
from remit.core.patterns import subtree_of
from remit.core.policy import Policy, ResourceType
from remit.core.question import QuestionType
from remit.core.rows import Effect
from remit.engine.inquiry import Inquiry
from remit.engine.minimal_sets import limited
from remit.engine.snapshot import Snapshot

ANY_SERVICE = Word("")
"""The service of a question that names none."""


def resolve(policy: Policy, namespace: Namespace, resource_type: ResourceType) -> Resolution | None:
    """The resource of this type at the nearest level: goes up from `namespace` to the tenant; None if no level names
    one. Types resolve independently."""
    level = namespace
    while True:
        named = policy.dedicated.get(level, {}).get(resource_type)
        if named is not None:
            return Resolution(named, level)
        if level == WHOLE_TENANT:
            return None
        level = _above(level)


def dedicated_to(policy: Policy, namespace: Namespace, resource_type: ResourceType, service: Word) -> Dedicated:
    """The resource of this type that serves a namespace, and if the service, if one is named, may use it."""
    found = resolve(policy, namespace, resource_type)
    if found is None or not service:
        return Dedicated(resource_type, found, None)
    denied = service in found.resource.denied_services
    return Dedicated(resource_type, found, Effect.DENY if denied else Effect.ALLOW)


@dataclass(frozen=True, slots=True)
class DedicatedTo(Inquiry[tuple[Dedicated, ...]]):
    """Which resources serve a namespace, or the tenant itself, and may a service use them?"""

    question_type: ClassVar = QuestionType.DEDICATED
    namespace: Namespace = WHOLE_TENANT
    resource_types: tuple[ResourceType, ...] = ()
    """Only these types; all if empty."""
    service: Word = ANY_SERVICE

    @property
    def columns(self) -> tuple[str, str, str, str]:
        return ("", "", "", self.namespace)

    def answer(self, snapshot: Snapshot) -> tuple[Dedicated, ...]:
        policy = snapshot.policy
        if self.namespace and policy.is_instance:
            raise violation("namespace", f"`{self.namespace}` is superfluous: `{INSTANCE}` has no namespaces")
        services = policy.vocabulary.services
        if self.service and self.service not in services:
            # A service that nobody declared is on no deny list, so a typo would be allowed.
            known = ", ".join(f"`{name}`" for name in services) or "none at all"
            raise violation("service", f"the vocabulary declares no `{self.service}`: it declares {known}")
        types = self.resource_types or ResourceType
        return tuple(dedicated_to(policy, self.namespace, each, self.service) for each in types)

    def detail(self, answer: tuple[Dedicated, ...]) -> Mapping[str, object]:
        detail: dict[str, object] = {
            each.resource_type: each.resolution.resource.name if each.resolution is not None else "" for each in answer
        }
        if self.service:
            refused = [each.resource_type for each in answer if each.service is Effect.DENY]
            detail |= {"service": self.service, "refused": refused}
        return detail


@dataclass(frozen=True, slots=True)
class ServedBy(Inquiry[Served]):
    """Which namespaces of a tenant does a resource serve? In `_instance`: which tenants may name it?

    A resource that is not open to the tenant gets the same answer as one that does not exist, or that no level names.
    """

    question_type: ClassVar = QuestionType.SERVED
    resource_type: ResourceType
    name: str

    @property
    def columns(self) -> tuple[str, str, str, str]:
        return ("", "", "", "")

    def answer(self, snapshot: Snapshot) -> Served:
        policy = snapshot.policy
        opened = policy.opened.get(self.resource_type, {}).get(self.name, ())
        # The levels that a set excludes, by the first level of the set.
        sets: dict[Namespace, list[Namespace]] = {}
        # For a level that names this resource: the first level of its set.
        begins: dict[Namespace, Namespace] = {}
        # A level's name is longer than the names of the levels above it.
        for level in sorted(policy.dedicated, key=len):
            named = policy.dedicated[level].get(self.resource_type)
            if named is None:
                continue
            above = resolve(policy, _above(level), self.resource_type) if level else None
            within = begins.get(above.level) if above is not None else None
            if named.name == self.name:
                begins[level] = level if within is None else within
                if within is None:
                    sets[level] = []
            elif within is not None:
                sets[within].append(level)
        namespaces = () if policy.is_instance else limited(_set(level, sets[level]) for level in sorted(sets))
        return Served(namespaces, WHOLE_TENANT in sets, tuple(sorted(opened)))

    def detail(self, answer: Served) -> Mapping[str, object]:
        return {
            "resource": f"{self.resource_type}/{self.name}",
            "patterns": sum(len(each.only) + len(each.excluded) for each in answer.namespaces),
            "tenants": len(answer.tenants),
        }


def _set(level: Namespace, others: list[Namespace]) -> NamespaceSet:
    """Everything at and below `level`, without everything at and below `others`."""
    return NamespaceSet(subtree_of(level), tuple(pattern for each in sorted(others) for pattern in subtree_of(each)))


def _above(level: Namespace) -> Namespace:
    return Namespace(level.rpartition(".")[0])
