"""Rules about roles and groups without principals."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from remit.core.names import CALLERS, Subject
from remit.core.rows import Link, Rule
from remit.core.runtime import stands_for
from remit.policy.lint.context import LintedTenant
from remit.policy.lint.finding import LintFinding, RuleId
from remit.policy.lint.rows import unmatched
from remit.policy.lint.sources import PolicySources


def idle_roles(tenant: LintedTenant) -> Iterator[LintFinding]:
    """Finds the tenant's own roles that no g row names, or that nobody holds.

    In `_callers` roles stand ready to be bound: `remit callers init` writes them.
    """
    bound = {link.holds for link in tenant.policy.links}
    managed = {rule.subject for rule in tenant.policy.rules if rule.tenant == "*"}
    for role, row in _first_rows("role:", tenant.own_rules, tenant.policy.links).items():
        if tenant.opened(role):
            continue
        if role not in bound:
            if tenant.name != CALLERS:
                yield tenant.texts.at(row, 1, RuleId.UNUSED_ROLE, f"no g row binds or includes `{role}`")
        elif role not in managed and not tenant.holders.held(role):
            yield tenant.texts.at(row, 1, RuleId.ROLE_NOBODY_HOLDS, f"`{role}` is held by nobody: {_why(tenant, role)}")


def _why(tenant: LintedTenant, role: Subject) -> str:
    if role in tenant.holders.populated:
        return "its members are not on the access list, or the scopes of the rows between them and it do not overlap"
    return "what holds it has no user and no service in it"


def _first_rows(prefix: str, rules: Iterable[Rule], links: Iterable[Link]) -> Mapping[Subject, Rule | Link]:
    """The first row that gives a subject of this type something, by subject."""
    first: dict[Subject, Rule | Link] = {}
    for rule in rules:
        if rule.subject.startswith(prefix):
            first.setdefault(rule.subject, rule)
    for link in links:
        if link.member.startswith(prefix):
            first.setdefault(link.member, link)
    return first


def empty_groups(tenant: LintedTenant) -> Iterator[LintFinding]:
    populated = tenant.holders.populated
    for group, row in _first_rows("group:", tenant.own_rules, tenant.policy.links).items():
        if group not in populated:
            yield tenant.texts.at(
                row, 1, RuleId.GROUP_WITHOUT_MEMBERS, f"no user and no service is in `{group}`, nor in a group in it"
            )
    named = {link.member for link in tenant.policy.links} | {rule.subject for rule in tenant.own_rules}
    for link in tenant.policy.links:
        if link.holds.startswith("group:") and link.holds not in populated and link.holds not in named:
            named.add(link.holds)
            yield tenant.texts.at(
                link,
                2,
                RuleId.GROUP_WITHOUT_MEMBERS,
                f"no user and no service is in `{link.holds}`, nor in a group in it",
            )
    yield from _listed_groups(tenant, named)


def _listed_groups(tenant: LintedTenant, named: set[Subject]) -> Iterator[LintFinding]:
    """Finds groups on the access list that no row mentions."""
    for entry in tenant.texts.items(f"{tenant.name}/tenant.yaml", "access"):
        if entry.text.startswith("group:") and entry.text not in tenant.holders.populated and entry.text not in named:
            yield LintFinding(
                f"{tenant.name}/tenant.yaml",
                entry.line,
                entry.column,
                RuleId.GROUP_WITHOUT_MEMBERS,
                f"no user and no service is in `{entry.text}`, nor in a group in it",
            )


def unopened_names(tenant: LintedTenant) -> Iterator[LintFinding]:
    """Finds names under `runtime` that end with `*` and match no role or group. The loader refuses other such names."""
    file = f"{tenant.name}/tenant.yaml"
    graph = tenant.snapshot.graph
    for key, known in (("roles", graph.roles()), ("groups", {*graph.groups, *(tenant.policy.access or ())})):
        for entry in tenant.texts.items(file, "runtime", key):
            if not any(stands_for(entry.text, name) for name in known):
                message = f"`{entry.text}` matches no {key.removesuffix('s')} that the files name"
                yield LintFinding(file, entry.line, entry.column, RuleId.RUNTIME_OPENS_NOTHING, message)


def idle_managed_roles(
    managed: Sequence[Rule], tenants: Sequence[LintedTenant], texts: PolicySources
) -> Iterator[LintFinding]:
    """Like `idle_roles`, `never_matching` and `deny_never_applies`, but for managed roles and over all tenants."""
    bound = {link.holds for tenant in tenants for link in tenant.policy.links}
    for role, row in _first_rows("role:", managed, ()).items():
        if any(tenant.opened(role) for tenant in tenants):
            continue
        if role not in bound:
            yield texts.at(row, 1, RuleId.UNUSED_ROLE, f"no tenant binds or includes `{role}`")
        elif not any(tenant.holders.held(role) for tenant in tenants):
            yield texts.at(row, 1, RuleId.ROLE_NOBODY_HOLDS, f"`{role}` is held by nobody in any tenant")
    for rule in managed:
        holding = [tenant for tenant in tenants if tenant.holders.held(rule.subject)]
        if holding and all(unmatched(tenant, rule) for tenant in holding):
            deny = rule.effect == "deny"
            yield texts.at(
                rule,
                1,
                RuleId.DENY_NEVER_APPLIES if deny else RuleId.NEVER_MATCHING,
                f"`{rule.text}` matches no question in any tenant: where `{rule.subject}` is held, the row does not count",
            )
