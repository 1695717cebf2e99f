from collections.abc import Collection, Iterator, Mapping

from remit.core.authzen import ActionAlias
from remit.core.names import Word
from remit.policy.lint.context import LintedTenant
from remit.policy.lint.finding import LintFinding, RuleId
from remit.policy.read.tree import AUTHZEN


def hidden_actions(tenant: LintedTenant) -> Iterator[LintFinding]:
    """Names that are actions themselves, and stand for others."""
    mapping = tenant.policy.authzen
    kinds = tenant.policy.vocabulary.kinds_of(tenant.name)
    everywhere = {action for kind in kinds.values() for action in kind.actions}
    yield from _hidden(tenant, mapping.actions, everywhere, "actions")
    for name, mapped in mapping.types.items():
        yield from _hidden(tenant, mapped.actions, kinds[Word(mapped.kind)].actions, "types", name, "actions")


def _hidden(
    tenant: LintedTenant, aliases: Mapping[str, ActionAlias], words: Collection[str], *keys: str
) -> Iterator[LintFinding]:
    file = f"{tenant.name}/{AUTHZEN}"
    for key, _ in tenant.texts.entries(file, *keys):
        alias = aliases[key.text]
        means = {alias} if isinstance(alias, str) else set(alias.words.values())
        if key.text in words and key.text not in means:
            message = f"no request can ask for the action `{key.text}` by its name: it stands for `{min(means)}`"
            yield LintFinding(file, key.line, key.column, RuleId.HIDDEN_ACTION, message)


def claimed_namespaces(tenant: LintedTenant) -> Iterator[LintFinding]:
    """Types whose requests may name a namespace, although the catalogue knows their resources."""
    mapping = tenant.policy.authzen
    file = f"{tenant.name}/{AUTHZEN}"
    for key, _ in tenant.texts.entries(file, "types"):
        mapped = mapping.types[key.text]
        if Word(mapped.kind) in mapping.catalogue and mapped.namespace is not None and mapped.namespace.claims:
            message = (
                f"a request says by a property where a `{key.text}` is, and the catalogue counts only without it: "
                "`namespace: catalogue` believes no request"
            )
            yield LintFinding(file, key.line, key.column, RuleId.CLAIMED_NAMESPACE, message)
