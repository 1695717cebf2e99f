"""Rules about single rows: rows that match nothing, that another row covers, or that give more than they seem to."""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from remit.core.names import Word
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.core.rows import ANY, Effect, Link, ReachRule, Rule
from remit.engine.pattern_cover import depths, namespaces_of
from remit.engine.pattern_trie import PatternTrie
from remit.engine.reach import ReachIndex
from remit.policy.lint.context import LintedTenant
from remit.policy.lint.finding import LintFinding, RuleId
from remit.policy.lint.holders import Grant
from remit.policy.lint.sources import PolicySources


def never_matching(tenant: LintedTenant) -> Iterator[LintFinding]:
    for rule in tenant.own_rules:
        if rule.effect is Effect.ALLOW:
            why = unmatched(tenant, rule)
            if why is not None:
                yield tenant.texts.at(rule, 1, RuleId.NEVER_MATCHING, f"`{rule.text}` matches no question: {why}")
    for link in tenant.policy.links:
        why = _uncounted(tenant, link)
        if why is not None:
            yield tenant.texts.at(link, 1, RuleId.NEVER_MATCHING, f"`{link.text}` counts for no question: {why}")
    yield from _giving_nothing(tenant)
    yield from _undeciding(tenant)


def unmatched(tenant: LintedTenant, rule: Rule) -> str | None:
    """Why no question of this tenant matches a p row; None if one does. Also None if nobody holds its role or group:
    lint reports that once, not for every row."""
    held = tenant.holders.held(rule.subject)
    if not held:
        shut_out = not rule.subject.startswith(("role:", "group:"))
        return f"`{rule.subject}` is not on the access list" if shut_out else None
    overlaps = (overlap for region in held if (overlap := region.intersection(rule.namespaces)) is not None)
    if any(tenant.matches(rule, overlap) for overlap in overlaps):
        return None
    if any(region.overlaps(rule.namespaces) for region in held):
        return f"its kinds live in no namespace, and nobody holds `{rule.subject}` in the whole tenant"
    return f"`{rule.subject}` is held in {_list(held)} only, and `{rule.namespaces}` is outside"


def _uncounted(tenant: LintedTenant, link: Link) -> str | None:
    """Why a g row counts for no question; None if it counts for one, or if nobody holds its member."""
    admitted = tenant.holders.admitted
    if admitted is not None and link.holds in admitted:
        return None  # The row admits members of that group, whatever its scope.
    held = tenant.holders.held(link.member)
    if not held:
        shut_out = not link.member.startswith(("role:", "group:"))
        return f"`{link.member}` is not on the access list" if shut_out else None
    if not any(region.overlaps(link.scope) for region in held):
        return f"`{link.member}` is held in {_list(held)} only, and `{link.scope}` is outside"
    return None


def _giving_nothing(tenant: LintedTenant) -> Iterator[LintFinding]:
    """Finds bindings that count although no row of the role does, unless lint reports each of those rows."""
    holders = tenant.holders
    giving = {
        _given_by(grant.binding)
        for people in (*holders.people, *holders.outside)
        for grant in people.grants
        if grant.binding is not None and tenant.matches(grant.rule, grant.region)
    }
    for link in tenant.policy.links:
        if _given_by(link) in giving or holders.undecided or not link.holds.startswith("role:"):
            continue
        if _awaited(tenant, link.member):
            continue
        if link.member.startswith("role:") or not holders.held(link.member) or _uncounted(tenant, link) is not None:
            continue
        rows = [rule for role, _ in holders.reached(link.holds) for rule in tenant.snapshot.graph.rules_of(role)]
        if any(rule.tenant == "*" or unmatched(tenant, rule) is None for rule in rows):
            message = f"`{link.text}` gives nothing: no row of `{link.holds}` counts in {_where(link)}"
            yield tenant.texts.at(link, 2, RuleId.NEVER_MATCHING, message)


def _given_by(binding: Link) -> tuple[str, str, str]:
    """A key that is equal for bindings that give the same. Bindings of two groups may differ, because their members
    hold the groups in other places."""
    member = binding.member if binding.member.startswith("group:") else ""
    return binding.holds, binding.scope.text, member


def _where(link: Link) -> str:
    return "the whole tenant" if link.scope == EVERYWHERE else f"`{link.scope}`"


def _undeciding(tenant: LintedTenant) -> Iterator[LintFinding]:
    """Finds reach rows whose questions are all decided earlier. If one row decides them all, the load fails."""
    reach = tenant.policy.reach
    if not reach:
        return
    index = ReachIndex(reach)
    callers = max(len(rule.caller.segments) for rule in reach)
    owners = max(len(rule.owner.segments) for rule in reach)
    for rule in reach:
        # Start with the deepest part: an earlier row seldom covers it, so one look-up is enough.
        parts = (
            ReachRule(rule.tenant, caller, owner, relations, rule.effect, rule.file, rule.line)
            for relations in ([(each,) for each in rule.relations])
            for caller in reversed(depths(namespaces_of(rule.caller), callers))
            for owner in reversed(depths(namespaces_of(rule.owner), owners))
        )
        if all(_one_namespace(part) or _decided_before(index, part) for part in parts):
            message = (
                f"`{rule.text}` decides nothing: a namespace may always use its own"
                if _one_namespace(rule)
                else f"`{rule.text}` decides nothing: the rows above cover it together"
            )
            yield tenant.texts.at(rule, 0, RuleId.NEVER_MATCHING, message)


def _one_namespace(rule: ReachRule) -> bool:
    """True if caller and owner are the same namespace, which may always use what it owns."""
    return rule.caller == rule.owner and not rule.caller.subtree and "*" not in rule.caller.segments


def _decided_before(index: ReachIndex, part: ReachRule) -> bool:
    first = index.first_covering(part)
    return first is not None and first.line < part.line


def deny_never_applies(tenant: LintedTenant) -> Iterator[LintFinding]:
    open_questions: defaultdict[str, list[Rule]] = defaultdict(list)
    for rule in tenant.own_rules:
        if rule.effect is Effect.DENY and not _awaited(tenant, rule.subject):
            why = unmatched(tenant, rule)
            if why is not None:
                yield tenant.texts.at(rule, 1, RuleId.DENY_NEVER_APPLIES, f"`{rule.text}` matches no question: {why}")
            elif tenant.holders.held(rule.subject):
                open_questions[rule.subject].append(rule)
    applied = _applied(tenant, open_questions)
    later = ", nor may be at run time" if tenant.policy.runtime is not None else ""
    for rules in open_questions.values():
        for rule in rules:
            if id(rule) not in applied and not tenant.holders.undecided:
                yield tenant.texts.at(
                    rule,
                    1,
                    RuleId.DENY_NEVER_APPLIES,
                    f"`{rule.text}` takes nothing away: nobody it applies to is allowed any of it by any row{later}",
                )


def _applied(tenant: LintedTenant, subjects: Container[str]) -> set[int]:
    """The denies of these subjects that take something away, now or after a grant at run time."""
    applied: set[int] = set()
    later = [grant for grant in tenant.holders.at_run_time if grant.rule.effect is Effect.ALLOW]
    tried: set[tuple[int, str]] = set()
    """Denies that were compared with `later`: many people hold the same in the same place."""
    for people in (*tenant.holders.people, *tenant.holders.outside):
        denies = [grant for grant in people.of(Effect.DENY) if grant.rule.subject in subjects]
        allows = list(people.of(Effect.ALLOW)) if denies else ()
        for deny in denies:
            key = id(deny.rule), deny.region.text
            if id(deny.rule) not in applied and _takes_away(
                tenant, deny, allows if key in tried else chain(allows, later)
            ):
                applied.add(id(deny.rule))
            tried.add(key)
    return applied


def _awaited(tenant: LintedTenant, subject: str) -> bool:
    """True if somebody may come to hold the subject at run time: then nobody knows what a deny takes away."""
    graph = tenant.snapshot.graph
    waiting, seen = [subject], {subject}
    while waiting:
        member = waiting.pop()
        if tenant.opened(member):
            return True
        more = {link.member for link in graph.members_of(member)} - seen
        seen |= more
        waiting += more
    return False


def _takes_away(tenant: LintedTenant, deny: Grant, allows: Iterable[Grant]) -> bool:
    return any(tenant.both_match(deny.rule, deny.region, allow.rule, allow.region) for allow in allows)


class _Words(NamedTuple):
    """What a p row says beside its subject and namespaces."""

    kinds: tuple[Word, ...]
    actions: tuple[Word, ...]
    effect: Effect

    def covers(self, other: "_Words") -> bool:
        """True if these words include `other`, now and after any change of the vocabulary. A deny includes an allow,
        because it overrules it."""
        return (
            (self.effect is Effect.DENY or other.effect is Effect.ALLOW)
            and _among(other.kinds, self.kinds)
            and _among(other.actions, self.actions)
        )


def _words(rule: Rule) -> _Words:
    return _Words(tuple(sorted(rule.kinds)), tuple(sorted(rule.actions)), rule.effect)


def _among(words: tuple[Word, ...], others: tuple[Word, ...]) -> bool:
    return others == ANY or (words != ANY and set(words) <= set(others))


def redundant_rules(rules: Sequence[Rule], texts: PolicySources) -> Iterator[LintFinding]:
    """Finds p rows that another p row of the same subject covers; of equal rows, the later one."""
    by_subject: defaultdict[str, list[Rule]] = defaultdict(list)
    for rule in rules:
        by_subject[rule.subject].append(rule)
    for group in by_subject.values():
        if len(group) == 1:
            continue
        coverage = PatternTrie(rule.namespaces for rule in group)
        first: defaultdict[str, dict[_Words, Rule]] = defaultdict(dict)
        for rule in group:
            first[rule.namespaces.text].setdefault(_words(rule), rule)
        for rule in group:
            words = _words(rule)
            for namespaces in coverage.of_pattern(rule.namespaces):
                other = _covering(rule, words, first[namespaces])
                if other is not None:
                    overruled = other.effect is not rule.effect
                    yield texts.at(
                        rule,
                        0,
                        RuleId.REDUNDANT_ROW,
                        f"`{rule.text}` is {'overruled' if overruled else 'covered'} by {other.place}: `{other.text}`",
                    )
                    break


def _covering(rule: Rule, words: _Words, others: dict[_Words, Rule]) -> Rule | None:
    """A row, among those over the same namespaces, that covers `rule`. Of equal rows it is the first."""
    same = others.get(words)
    if same is not None and same is not rule:
        return same
    return next((other for its, other in others.items() if its != words and its.covers(words)), None)


def redundant_links(links: Sequence[Link], texts: PolicySources) -> Iterator[LintFinding]:
    """Finds g rows that another g row between the same two subjects covers; of equal rows, the later one."""
    between: defaultdict[tuple[str, str], list[Link]] = defaultdict(list)
    for link in links:
        between[link.member, link.holds].append(link)
    for group in between.values():
        if len(group) == 1:
            continue
        coverage = PatternTrie(link.scope for link in group)
        first: dict[str, Link] = {}
        for link in group:
            first.setdefault(link.scope.text, link)
        for link in group:
            others = {text: first[text] for text in coverage.of_pattern(link.scope) if first[text] is not link}
            if others:
                other = others.get(link.scope.text) or min(others.values(), key=lambda each: len(each.scope.segments))
                yield texts.at(
                    link, 0, RuleId.REDUNDANT_ROW, f"`{link.text}` is covered by {other.place}: `{other.text}`"
                )


def whole_tenant_wildcard(tenant: LintedTenant) -> Iterator[LintFinding]:
    for rule in tenant.own_rules:
        if not rule.subject.startswith("role:") and _is_wildcard(rule):
            yield tenant.texts.at(
                rule,
                1,
                RuleId.WHOLE_TENANT_WILDCARD,
                f"`{rule.subject}` gets every action on every kind in all of `{tenant.name}`",
            )
    graph = tenant.snapshot.graph
    for link in tenant.policy.links:
        if link.scope == EVERYWHERE and link.holds.startswith("role:") and not link.member.startswith("role:"):
            for role, where in tenant.holders.reached(link.holds):
                wild = next(filter(_is_wildcard, graph.rules_of(role)), None) if where == EVERYWHERE else None
                if wild is not None:
                    yield tenant.texts.at(
                        link,
                        2,
                        RuleId.WHOLE_TENANT_WILDCARD,
                        f"`{link.member}` gets every action on every kind in all of `{tenant.name}`, by {wild.place}",
                    )
                    break


def _is_wildcard(rule: Rule) -> bool:
    return rule.effect is Effect.ALLOW and rule.namespaces == EVERYWHERE and rule.kinds == ANY and rule.actions == ANY


def future_kinds(rules: Iterable[Rule], texts: PolicySources) -> Iterator[LintFinding]:
    for rule in rules:
        if rule.effect is Effect.ALLOW and rule.kinds == ANY:
            yield texts.at(
                rule, 4, RuleId.FUTURE_KINDS, f"`*` also allows `{rule.subject}` the kinds that are declared later"
            )


def _list(patterns: Sequence[NamespacePattern]) -> str:
    shown = ", ".join(f"`{each}`" for each in patterns[:3])
    return shown if len(patterns) <= 3 else f"{shown} and {len(patterns) - 3} more"  # noqa: PLR2004 (a few are enough)
