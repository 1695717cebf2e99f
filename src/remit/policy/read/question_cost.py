"""Limits the rows that one question may have to read: with too many, one tenant's questions delay all others."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Final, TypeVar

from remit.core.patterns import NamespacePattern
from remit.core.rows import Link, ReachRule, Rule
from remit.engine.memo import BoundedMemo, by_items
from remit.policy.read.role_graph_check import Refuse

_FEW: Final = 64
"""If a subject has no more rows than this, they are counted without looking at namespaces."""
_HELD: Final = 65_536
"""Groups and roles with a cached set of held subjects. A large set counts several times."""

_Row = TypeVar("_Row", Rule, Link)
_Patterns = Mapping[NamespacePattern, Rule | Link | ReachRule]


def check_access_cost(
    rules: Sequence[Rule], links: Sequence[Link], limit: int, at: Refuse, tick: Callable[[], object]
) -> None:
    """Refuses rows if one question may have to read more than `limit` of them. The g rows must have no cycles. Calls
    `tick` between the steps of a long check; `tick` may raise."""
    if check_rows_of_subjects(rules, links, limit, at, tick):
        check_star_patterns(rules, links, limit, at)


def check_rows_of_subjects(
    rules: Sequence[Rule], links: Sequence[Link], limit: int, at: Refuse, tick: Callable[[], object]
) -> bool:
    """The part of `check_access_cost` that counts rows by subject. False if it refuses some."""
    light = len(rules) + len(links) <= limit or _rows_on_all_chains(rules, links) <= limit
    heavy = [] if light else _Access(rules, links, limit, tick).heaviest()
    if heavy:
        subject, row = heavy[0]
        more = f"; so do {len(heavy) - 1:,} others" if len(heavy) > 1 else ""
        advice = "let it hold fewer groups and roles, or hold them in parts of the tenant"
        at(
            row,
            1,
            f"`{subject}` has more than {limit:,} rows for one question to read{more}: {_expected(limit)}; {advice}",
        )
    return not heavy


def check_star_patterns(rules: Iterable[Rule], links: Iterable[Link], limit: int, at: Refuse) -> None:
    """Refuses patterns with `*` if to find those over one namespace may take more than `limit` steps."""
    namespaces = {rule.namespaces: rule for rule in rules if "*" in rule.namespaces.segments}
    scopes = {link.scope: link for link in links if "*" in link.scope.segments}
    _check_stars({**namespaces, **scopes}, 3, limit, at)


def check_reach_cost(reach: Sequence[ReachRule], limit: int, at: Refuse) -> None:
    count = _reach_rows(reach) if len(reach) > limit else 0
    if count > limit:
        advice = "write fewer rows whose callers and owners overlap"
        at(reach[0], 0, f"up to {count:,} reach rows for one question to read: {_expected(limit)}; {advice}")
        return
    _check_stars({row.caller: row for row in reach if "*" in row.caller.segments}, 2, limit, at)
    _check_stars({row.owner: row for row in reach if "*" in row.owner.segments}, 3, limit, at)


def _check_stars(starred: _Patterns, field: int, limit: int, at: Refuse) -> None:
    """Without `*`, a namespace has at most as many patterns over it as it has segments; with `*`, patterns multiply."""
    if sum(len(pattern.segments) for pattern in starred) <= limit:
        return
    steps = most_in_one_namespace(((pattern, 0) for pattern in starred), step=1)
    if steps > limit:
        # The last row is not a managed role's: managed roles are within the limit by themselves.
        *_, (pattern, row) = starred.items()
        text = f"`{pattern}` and {len(starred) - 1:,} other patterns with `*` take up to {steps:,} steps"
        at(row, field, f"{text} to find those over one namespace: {_expected(limit)}; write fewer of them")


def _expected(limit: int) -> str:
    return f"expected at most {limit:,}, because a longer question delays all others"


def _rows_on_all_chains(rules: Sequence[Rule], links: Sequence[Link]) -> int:
    """The largest number of rows behind any subject. A row counts once per chain to it, in any namespace: more than a
    question reads, but fast to compute."""
    counts = Counter(map(attrgetter("subject"), rules))
    inner: defaultdict[str, list[str]] = defaultdict(list)
    outer: list[Link] = []
    for link in links:
        if link.member.startswith(("group:", "role:")):
            inner[link.member].append(link.holds)
        else:
            outer.append(link)
    known: dict[str, int] = {}

    def count(subject: str) -> int:
        found = known.get(subject)
        if found is None:
            # Recursion is as deep as the longest chain.
            found = known[subject] = counts[subject] + sum(1 + count(holds) for holds in inner.get(subject, ()))
        return found

    principals = Counter({subject: number for subject, number in counts.items() if subject not in inner})
    for link in outer:
        principals[link.member] += 1 + count(link.holds)
    return max(max(map(count, inner), default=0), max(principals.values(), default=0))


class _Access:
    """The rows of the access plane that a question about a subject may have to read, as upper bounds."""

    def __init__(self, rules: Iterable[Rule], links: Iterable[Link], limit: int, tick: Callable[[], object]) -> None:
        self._rules: Mapping[str, Sequence[Rule]] = _grouped(rules, attrgetter("subject"))
        self._links: Mapping[str, Sequence[Link]] = _grouped(links, attrgetter("member"))
        self._limit = limit
        self._tick = tick
        self._counts: dict[str, int] = {}
        self._own: dict[str, int] = {}
        self._held = BoundedMemo(_HELD, self._all_held, by_items)

    def heaviest(self) -> list[tuple[str, Rule | Link]]:
        """The subjects past the limit that hold no other subject past the limit, with one of their own rows."""
        first: dict[str, Rule | Link] = {subject: rows[0] for subject, rows in self._rules.items()}
        first |= {subject: rows[0] for subject, rows in self._links.items()}
        return [
            (subject, row)
            for subject, row in first.items()
            if self._count(subject) > self._limit
            and not any(self._count(link.holds) > self._limit for link in self._links.get(subject, ()))
        ]

    def _count(self, subject: str) -> int:
        """The count of rows, at most one past the limit."""
        known = self._counts.get(subject)
        if known is None:
            known = self._counts[subject] = min(self._counted(subject), self._limit + 1)
        return known

    def _counted(self, subject: str) -> int:
        rules, links = self._rules.get(subject, ()), self._links.get(subject, ())
        behind = [1 + self._count(link.holds) for link in links]
        count = len(rules) + sum(behind)
        if count > self._limit:
            # One question does not read rows that hold in different namespaces.
            self._tick()
            scopes = (link.scope for link in links)
            count = self._own_rows(subject) + most_in_one_namespace(zip(scopes, behind, strict=True))
        # A question reads a row once, even if several chains lead to it.
        return min(count, self._reached(subject)) if count > self._limit else count

    def _reached(self, subject: str) -> int:
        """All rows behind a subject, in any namespace, counted once; past the limit, some number past it."""
        held = {subject}
        for link in self._links.get(subject, ()):
            if link.holds not in held:
                if self._count(link.holds) > self._limit or len(held) > self._limit:
                    return self._limit + 1
                held |= self._held[link.holds]
        return sum(self._own_rows(each) + len(self._links.get(each, ())) for each in held)

    def _all_held(self, subject: str) -> frozenset[str]:
        """The subjects that a subject holds anywhere, itself included. All of them must be within the limit."""
        held = {subject}
        for link in self._links.get(subject, ()):
            if link.holds not in held:
                held |= self._held[link.holds]
        return frozenset(held)

    def _own_rows(self, subject: str) -> int:
        rules = self._rules.get(subject, ())
        if len(rules) <= _FEW:
            return len(rules)
        known = self._own.get(subject)
        if known is None:
            # For one permission a pattern has one row that allows and one that denies: no question reads the rest.
            most = 2 * most_in_one_namespace((pattern, 1) for pattern in {rule.namespaces for rule in rules})
            known = self._own[subject] = min(len(rules), _FEW + most)
        return known


def _reach_rows(reach: Iterable[ReachRule]) -> int:
    owners: defaultdict[NamespacePattern, list[NamespacePattern]] = defaultdict(list)
    for rule in reach:
        owners[rule.caller].append(rule.owner)
    read = ((caller, most_in_one_namespace((owner, 1) for owner in rows)) for caller, rows in owners.items())
    return most_in_one_namespace(read)


class _Segment:
    """A node of the segment tree: the weights of the patterns that end here and of the subtrees that begin here."""

    __slots__ = ("below", "exact", "subtree")

    def __init__(self) -> None:
        self.exact = 0
        self.subtree = 0
        self.below: dict[str, _Segment] = {}

    def most(self, step: int) -> int:
        star = 0
        literal = 0
        for segment, node in self.below.items():
            if segment == "*":
                star = node.most(step)
            else:
                literal = max(literal, node.most(step))
        return step + self.subtree + max(self.exact, literal + star)


def most_in_one_namespace(weighed: Iterable[tuple[NamespacePattern, int]], step: int = 0) -> int:
    """An upper bound for the total weight of the patterns that cover one namespace. Adds `step` for every step to a
    pattern, and for patterns with the same beginning."""
    root = _Segment()
    for pattern, weight in weighed:
        node = root
        for segment in pattern.segments:
            node = node.below.get(segment) or node.below.setdefault(segment, _Segment())
        if pattern.subtree:
            node.subtree += weight
        else:
            node.exact += weight
    return root.most(step)


def _grouped(rows: Iterable[_Row], subject_of: Callable[[_Row], str]) -> Mapping[str, Sequence[_Row]]:
    groups: defaultdict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        groups[subject_of(row)].append(row)
    return groups
