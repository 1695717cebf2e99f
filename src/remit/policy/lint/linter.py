from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from remit.core.diagnostics import Diagnostic, PolicyError
from remit.core.names import CALLERS, INSTANCE, Tenant
from remit.core.policy import Policy
from remit.engine.role_graph import STATES_LIMIT
from remit.policy.lint.authzen import claimed_namespaces, hidden_actions
from remit.policy.lint.context import LintedTenant
from remit.policy.lint.escalation import inherited_secrets, privilege_escalation
from remit.policy.lint.finding import LintFinding, RuleId
from remit.policy.lint.resources import dedicated_too_high, opened_too_widely, wants_a_namespace
from remit.policy.lint.roles import empty_groups, idle_managed_roles, idle_roles, unopened_names
from remit.policy.lint.routes import catch_all_routes, overlapping_routes, routes_nobody_may_use
from remit.policy.lint.rows import (
    deny_never_applies,
    future_kinds,
    never_matching,
    redundant_links,
    redundant_rules,
    whole_tenant_wildcard,
)
from remit.policy.lint.similar_names import similar_names, similar_words, unknown_tenants
from remit.policy.lint.sources import PolicySources
from remit.policy.lint.suppression import suppressed
from remit.policy.load import DEFAULT_LIMITS, Root, load_root, read_policy
from remit.policy.read.tree import Folder, Tree, read_tree

EVERY_RULE = frozenset(RuleId)


@dataclass(frozen=True, slots=True)
class LintResult:
    findings: tuple[LintFinding, ...]
    """By file, line and column. If some files do not load, only the loader's diagnostics."""
    loads: bool


def lint_directory(directory: Path, rules: Collection[RuleId] = EVERY_RULE) -> LintResult:
    """Lints a policy directory with these rules. Files that do not load give a result, not an exception.

    Raises OSError if the directory itself cannot be read.
    """
    try:
        found = findings_of(read_tree(directory, DEFAULT_LIMITS), rules)
    except PolicyError as error:
        refused = (
            LintFinding(each.file, each.line, each.column, RuleId.DOES_NOT_LOAD, each.message)
            for each in error.diagnostics
        )
        return LintResult(tuple(refused), loads=False)
    return LintResult(found, loads=True)


def findings_of(tree: Tree, rules: Collection[RuleId] = EVERY_RULE) -> tuple[LintFinding, ...]:
    """The findings of these rules that no comment suppresses, by file, line and column.

    Raises PolicyError with every diagnostic if some files do not load.
    """
    root = load_root(tree)
    policies: list[Policy] = []
    refused: list[Diagnostic] = []
    for tenant in tree.tenants:
        try:
            policies.append(read_policy(tree, tenant, root))
        except PolicyError as error:
            refused += error.diagnostics
    if refused:
        raise PolicyError(tuple(refused))
    texts = PolicySources(tree)
    tenants = {policy.tenant: LintedTenant(policy, texts) for policy in policies}
    found = (each for each in _findings(root, tenants, texts) if each.rule in rules)
    return tuple(sorted(each for each in suppressed(found, texts.files, rules) if each.rule in rules))


def tenant_findings(tree: Tree, policy: Policy) -> tuple[LintFinding, ...]:
    """The findings of all rules in a tenant's own folder, as `findings_of` gives them for all tenants together."""
    texts = PolicySources(Tree(Folder(""), {policy.tenant: tree.tenants[policy.tenant]}))
    return tuple(sorted(suppressed(_tenant_findings(LintedTenant(policy, texts)), texts.files, EVERY_RULE)))


def _findings(root: Root, tenants: dict[Tenant, LintedTenant], texts: PolicySources) -> Iterator[LintFinding]:
    yield from similar_words(root.vocabulary, texts)
    yield from opened_too_widely(root.resources, tenants, texts)
    yield from wants_a_namespace(root.resources, tenants, texts)
    yield from redundant_rules(root.managed, texts)
    yield from future_kinds(root.managed, texts)
    managing = [each for tenant, each in tenants.items() if tenant not in {INSTANCE, CALLERS}]
    yield from idle_managed_roles(root.managed, managing, texts)
    if CALLERS in tenants:
        yield from unknown_tenants(tenants[CALLERS], tenants)
    for tenant in tenants.values():
        yield from _tenant_findings(tenant)


def _tenant_findings(tenant: LintedTenant) -> Iterator[LintFinding]:
    yield from never_matching(tenant)
    yield from deny_never_applies(tenant)
    yield from redundant_rules(tenant.own_rules, tenant.texts)
    yield from redundant_links(tenant.policy.links, tenant.texts)
    yield from idle_roles(tenant)
    yield from empty_groups(tenant)
    yield from unopened_names(tenant)
    yield from whole_tenant_wildcard(tenant)
    yield from future_kinds(tenant.own_rules, tenant.texts)
    yield from privilege_escalation(tenant)
    yield from inherited_secrets(tenant)
    yield from dedicated_too_high(tenant)
    yield from hidden_actions(tenant)
    yield from claimed_namespaces(tenant)
    yield from overlapping_routes(tenant)
    yield from catch_all_routes(tenant)
    yield from routes_nobody_may_use(tenant)
    yield from similar_names(tenant)
    yield from _undecided(tenant)


def _undecided(tenant: LintedTenant) -> Iterator[LintFinding]:
    for subject in dict.fromkeys(tenant.holders.undecided):
        link = tenant.snapshot.graph.links_of(subject)[0]
        message = f"the chains from `{subject}` have more than {STATES_LIMIT} scopes: what it holds is not judged"
        yield tenant.texts.at(link, 1, RuleId.UNDECIDED, message)
