from remit.core.names import Tenant, Word
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.core.policy import Policy
from remit.core.rows import ANY, Rule
from remit.engine.pattern_cover import namespaces_of
from remit.engine.snapshot import Snapshot
from remit.policy.lint.holders import Holders
from remit.policy.lint.sources import PolicySources

Permission = tuple[Word, Word]


class LintedTenant:
    def __init__(self, policy: Policy, texts: PolicySources) -> None:
        self.policy = policy
        self.texts = texts
        self.snapshot = Snapshot(policy)
        self.holders = Holders(self.snapshot)
        self.own_rules = [rule for rule in policy.rules if rule.tenant != "*"]
        """Rules without those of managed roles."""
        self._permissions: dict[tuple[tuple[Word, ...], tuple[Word, ...]], tuple[frozenset[Permission], ...]] = {}

    @property
    def name(self) -> Tenant:
        return self.policy.tenant

    def opened(self, subject: str) -> bool:
        """True if somebody may be given this role, or membership in this group, at run time."""
        runtime = self.policy.runtime
        return runtime is not None and (runtime.opens(subject) or subject == runtime.suspend)

    def permissions(self, rule: Rule) -> tuple[frozenset[Permission], frozenset[Permission]]:
        """The permissions that a row names: first for kinds that live in namespaces, then for the others."""
        key = (rule.kinds, rule.actions)
        if key not in self._permissions:
            kinds = [
                kind
                for kind in self.policy.vocabulary.kinds.values()
                if kind.lives_in(self.name) and (rule.kinds == ANY or kind.name in rule.kinds)
            ]
            self._permissions[key] = tuple(
                frozenset(
                    (kind.name, action)
                    for kind in kinds
                    for action in (kind.actions if rule.actions == ANY else kind.actions.intersection(rule.actions))
                    if kind.namespaced is namespaced
                )
                for namespaced in (True, False)
            )
        within, without = self._permissions[key]
        return within, without

    def matches(self, rule: Rule, region: NamespacePattern) -> bool:
        """True if the row names some question about `region`, the part of its namespaces where it counts."""
        within, without = self.permissions(rule)
        return bool(within) or (bool(without) and region == EVERYWHERE)

    def both_match(self, one: Rule, one_region: NamespacePattern, two: Rule, two_region: NamespacePattern) -> bool:
        """True if some question matches both rows, which a principal holds in these regions."""
        within, without = (mine & its for mine, its in zip(self.permissions(one), self.permissions(two), strict=True))
        if within and namespaces_of(one_region).overlaps(namespaces_of(two_region)):
            return True
        return bool(without) and one_region == two_region == EVERYWHERE
