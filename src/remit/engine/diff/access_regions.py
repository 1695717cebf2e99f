from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from remit.core.names import Principal, Word
from remit.core.patterns import EVERYWHERE
from remit.core.policy import Policy
from remit.core.rows import Effect, Link, Rule
from remit.engine.decision_diagram import DiagramFactory, Region
from remit.engine.role_graph import RoleGraph
from remit.engine.snapshot import Snapshot

Permission = tuple[Word, Word]


class Granted(NamedTuple):
    """What rows say about one subject and one permission, within the scopes of the chains."""

    allowed: Region
    denied: Region


class PermissionRows:
    """The p rows of a policy by subject and permission."""

    def __init__(self, policy: Policy | None, graph: RoleGraph) -> None:
        self._graph = graph
        self.namespaced = _permissions(policy)
        self._named: dict[tuple[object, object], frozenset[Permission]] = {}
        self._rows: dict[str, Mapping[Permission, Sequence[Rule]]] = {}

    def named(self, rule: Rule) -> frozenset[Permission]:
        known = self._named.get((rule.kinds, rule.actions))
        if known is None:
            known = self._named[rule.kinds, rule.actions] = frozenset(
                permission for permission in self.namespaced if rule.names(*permission)
            )
        return known

    def of(self, subject: str) -> Mapping[Permission, Sequence[Rule]]:
        known = self._rows.get(subject)
        if known is None:
            rows: defaultdict[Permission, list[Rule]] = defaultdict(list)
            for rule in self._graph.rules_of(subject):
                for permission in self.named(rule):
                    rows[permission].append(rule)
            known = self._rows[subject] = dict(rows)
        return known


class AccessRegions:
    """What one policy allows whom, as regions. If the tenant does not exist in it, it allows nothing."""

    def __init__(self, factory: DiagramFactory, snapshot: Snapshot | None, rows: PermissionRows | None = None) -> None:
        """`rows` are those of another policy with the same p rows and vocabulary."""
        self._factory = factory
        self._snapshot = snapshot
        self.policy = snapshot.policy if snapshot is not None else None
        self.graph = snapshot.graph if snapshot is not None else RoleGraph((), ())
        self.permission_rows = rows or PermissionRows(self.policy, self.graph)
        self.namespaced = self.permission_rows.namespaced
        self._granted: dict[tuple[str, Permission], Granted] = {}
        self._held: dict[str, frozenset[Permission]] = {}

    @cached_property
    def rules(self) -> Mapping[tuple[object, ...], Rule]:
        return {_stated(rule): rule for rule in self.policy.rules} if self.policy is not None else {}

    @cached_property
    def links(self) -> Mapping[tuple[str, str, str], Link]:
        return {(link.member, link.holds, link.scope.text): link for link in self.policy.links} if self.policy else {}

    def admits(self, principal: str) -> bool:
        snapshot = self._snapshot
        return snapshot is not None and snapshot.admits(principal)

    def named(self, rule: Rule) -> frozenset[Permission]:
        return self.permission_rows.named(rule)

    def held(self, subject: str) -> frozenset[Permission]:
        """The permissions that rows of the subject, or of a subject that it holds somewhere, name."""
        known = self._held.get(subject)
        if known is None:
            onward = (self.held(link.holds) for link in self.graph.links_of(subject))
            known = self._held[subject] = frozenset(self.permission_rows.of(subject)).union(*onward)
        return known

    def allows(self, principal: Principal, permission: Permission) -> Region:
        """The namespaces in which the principal has the permission."""
        return self.given(principal, permission) if self.admits(principal) else self._factory.none

    def given(self, subject: str, permission: Permission) -> Region:
        """The namespaces in which the rows give a subject the permission, whatever the access list says."""
        return self._asked(permission, self._factory.without(*self.granted(subject, permission)))

    def through(self, link: Link, permission: Permission) -> Region:
        """The namespaces in which this g row alone gives a principal the permission, whatever else the principal holds."""
        return self._asked(
            permission, self._factory.without(*self._through(link, self.granted(link.holds, permission)))
        )

    def denied(self, subject: str, permission: Permission) -> Region:
        """The namespaces in which the rows deny a subject the permission, whatever others allow it."""
        return self._asked(permission, self.granted(subject, permission).denied)

    def _asked(self, permission: Permission, region: Region) -> Region:
        """The part of the region where the permission can be asked about."""
        factory = self._factory
        namespaced = self.namespaced.get(permission)
        if namespaced is None:
            return factory.none
        return factory.namespaces(region) if namespaced else factory.diagram(region.here, {}, factory.none)

    def granted(self, subject: str, permission: Permission) -> Granted:
        known = self._granted.get((subject, permission))
        if known is None:
            factory = self._factory
            rows = self.permission_rows.of(subject).get(permission, ())
            known = Granted(
                factory.union_of(rule.namespaces for rule in rows if rule.effect is Effect.ALLOW),
                factory.union_of(rule.namespaces for rule in rows if rule.effect is Effect.DENY),
            )
            for link in self.graph.links_of(subject):
                if permission in self.held(link.holds):
                    held = self._through(link, self.granted(link.holds, permission))
                    known = Granted(
                        factory.union(known.allowed, held.allowed), factory.union(known.denied, held.denied)
                    )
            self._granted[subject, permission] = known
        return known

    def _through(self, link: Link, granted: Granted) -> Granted:
        if link.scope == EVERYWHERE:
            return granted
        scope = self._factory.region(link.scope)
        return Granted(
            self._factory.intersection(scope, granted.allowed), self._factory.intersection(scope, granted.denied)
        )


def _permissions(policy: Policy | None) -> Mapping[Permission, bool]:
    """The permissions on the tenant's side of the instance wall; True if the kind is namespaced."""
    if policy is None:
        return {}
    return {
        (kind.name, action): kind.namespaced
        for kind in policy.vocabulary.kinds.values()
        if kind.lives_in(policy.tenant)
        for action in kind.actions
    }


def _stated(rule: Rule) -> tuple[object, ...]:
    """The content of a row, without its place."""
    return (rule.subject, rule.namespaces.text, rule.kinds, rule.actions, rule.effect)
