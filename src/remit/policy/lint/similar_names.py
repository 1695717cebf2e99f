from collections.abc import Collection, Iterable, Iterator, Mapping

from remit.core.names import CALLERS, Word
from remit.core.rows import Link, ReachRule, Rule
from remit.core.vocabulary import Vocabulary
from remit.policy.lint.context import LintedTenant
from remit.policy.lint.finding import LintFinding, RuleId
from remit.policy.lint.sources import PolicySources
from remit.policy.read.report import did_you_mean
from remit.policy.read.tree import VOCABULARY

_SHORTEST = 4
"""In shorter names one letter makes another word: `eu` and `us`."""

_Name = tuple[str, str]
"""The context of a name (its type, or its parent namespace), and the name."""


def similar_names(tenant: LintedTenant) -> Iterator[LintFinding]:
    """Finds similar subjects of one type, and similar sibling namespaces. In `_callers`, where namespaces are tenants,
    `unknown_tenants` finds the wrong ones."""
    subjects: dict[str, tuple[Rule | Link, int]] = {}
    namespaces: dict[tuple[str, ...], tuple[Rule | Link | ReachRule, int]] = {}
    for rule in tenant.own_rules:
        subjects.setdefault(rule.subject, (rule, 1))
        namespaces.setdefault(rule.namespaces.segments, (rule, 3))
    for link in tenant.policy.links:
        subjects.setdefault(link.member, (link, 1))
        subjects.setdefault(link.holds, (link, 2))
        namespaces.setdefault(link.scope.segments, (link, 3))
    for reach in tenant.policy.reach:
        namespaces.setdefault(reach.caller.segments, (reach, 2))
        namespaces.setdefault(reach.owner.segments, (reach, 3))
    for (prefix, name), (_, other) in _pairs(_typed(subject) for subject in subjects):
        row, field = subjects[f"{prefix}:{name}"]
        yield tenant.texts.at(
            row, field, RuleId.SIMILAR_NAMES, f"`{prefix}:{name}` is nearly `{prefix}:{other}`, named elsewhere"
        )
    if tenant.name == CALLERS:
        return
    beside: dict[_Name, tuple[Rule | Link | ReachRule, int]] = {}
    for segments, place in namespaces.items():
        for length in range(1, len(segments) + 1):
            if segments[length - 1] != "*":
                beside.setdefault((".".join(segments[: length - 1]), segments[length - 1]), place)
    for (parent, name), (_, other) in _pairs(beside):
        path, close = (f"{parent}.{each}" if parent else each for each in (name, other))
        named, field = beside[parent, name]
        yield tenant.texts.at(
            named, field, RuleId.SIMILAR_NAMES, f"namespace `{path}` is nearly `{close}`, named elsewhere"
        )


def unknown_tenants(callers: LintedTenant, tenants: Collection[str]) -> Iterator[LintFinding]:
    """Finds rows of `_callers` that name a tenant without a folder: a wall may stand around the wrong name."""
    rows: list[Rule | Link] = [*callers.own_rules, *callers.policy.links]
    for row in rows:
        pattern = row.namespaces if isinstance(row, Rule) else row.scope
        for name in pattern.segments:
            if name != "*" and name not in tenants:
                message = f"there is no folder of a tenant `{name}`{did_you_mean(name, tenants)}"
                yield callers.texts.at(row, 3, RuleId.UNKNOWN_TENANT, message)


def _typed(subject: str) -> _Name:
    prefix, _, name = subject.partition(":")
    return prefix, name


def similar_words(vocabulary: Vocabulary, texts: PolicySources) -> Iterator[LintFinding]:
    """Finds similar kinds and relations of the vocabulary."""
    sections: Mapping[str, Iterable[Word]] = {"kinds": vocabulary.kinds, "relations": vocabulary.relations}
    for section, words in sections.items():
        keys = {key.text: key for key, _ in texts.entries(VOCABULARY, section)}
        for (_, name), (_, other) in _pairs([("", word) for word in words]):
            yield LintFinding(
                VOCABULARY,
                keys[name].line,
                keys[name].column,
                RuleId.SIMILAR_NAMES,
                f"`{name}` is nearly `{other}`, declared too",
            )


def _pairs(names: Iterable[_Name]) -> Iterator[tuple[_Name, _Name]]:
    """For every (context, text), the first earlier one in the same context that differs only in case or by one letter.

    Looks up the text with one letter left out, instead of comparing it with all others.
    """
    folded: dict[tuple[str, str], _Name] = {}
    shortened: dict[tuple[str, str], _Name] = {}
    with_a_gap: dict[tuple[str, int, str], _Name] = {}
    for name in names:
        context, text = name
        whole = (context, text.lower())
        close = folded.setdefault(whole, name)
        if close is not name:
            yield name, close
            continue
        if len(text) < _SHORTEST:
            continue
        others = [shortened.get(whole)]
        for index, letter in enumerate(whole[1]):
            if letter.isalpha():
                rest = whole[1][:index] + whole[1][index + 1 :]
                others.append(with_a_gap.setdefault((context, index, rest), name))
                others.append(folded.get((context, rest)) if len(rest) >= _SHORTEST else None)
                shortened.setdefault((context, rest), name)
        found = next((other for other in others if other is not None and other is not name), None)
        if found is not None:
            yield name, found
