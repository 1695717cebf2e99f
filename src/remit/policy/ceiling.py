"""The ceiling of run time: why the files, or the soundness of all rows, do not let a row be granted."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from remit.clock import utc_text
from remit.core.hints import did_you_mean
from remit.core.patterns import EVERYWHERE
from remit.core.policy import Policy
from remit.core.rows import Effect, Link, ReachRule, Rule
from remit.core.runtime import RuntimeRow
from remit.engine.pattern_cover import covered
from remit.engine.role_graph import CHAIN_LIMIT, RoleGraph
from remit.engine.snapshot import Snapshot
from remit.policy.read.question_cost import check_rows_of_subjects, check_star_patterns

_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class RowRefusal:
    row: RuntimeRow
    message: str


class Ceiling:
    """What the files of a tenant let be granted. It remembers what it found for a group or a role and a scope."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._closed: dict[tuple[str, str], str] = {}

    def refusal(self, row: RuntimeRow, now_us: int) -> str:
        """Why the files do not let a row be granted now; '' if they do."""
        runtime = self._policy.runtime
        if runtime is not None and row.expires_us is not None and row.expires_us <= now_us:
            return f"expires {utc_text(row.expires_us)}, which is not after {utc_text(now_us)}"
        why = self.closed(row)
        if why or runtime is None or row.holds == runtime.suspend:
            return why
        return _too_long(row, runtime.max_ttl_s, now_us)

    def closed(self, row: RuntimeRow) -> str:
        """Why the files do not open a row, whenever it ends; '' if they do."""
        key = row.holds, row.scope.text
        why = self._closed.get(key)
        if why is None:
            why = self._closed[key] = _closed(self._policy, row)
        return why


def _closed(policy: Policy, row: RuntimeRow) -> str:
    runtime, manifest = policy.runtime, f"{policy.tenant}/tenant.yaml"
    if runtime is None:
        return f"{manifest} has no `runtime`: nothing may be granted at run time"
    if row.holds == runtime.suspend:
        return ""
    if not runtime.opens(row.holds):
        key = "roles" if row.holds.startswith("role:") else "groups"
        return f"`{row.holds}` is not opened at run time: no name under `{key}` of `runtime` in {manifest} matches it"
    if not covered(row.scope, runtime.scopes):
        scopes = ", ".join(f"`{scope}`" for scope in runtime.scopes)
        where = f"scope `{row.scope}`" if row.scope != EVERYWHERE else "the whole tenant"
        return f"{where} is not within `scopes` of `runtime` in {manifest}: {scopes}"
    return ""


def _too_long(row: RuntimeRow, max_ttl_s: int | None, now_us: int) -> str:
    if max_ttl_s is None:
        return ""
    latest_us = now_us + max_ttl_s * _US
    if row.expires_us is None:
        return f"never expires: expected not later than {utc_text(latest_us)}, by `max_ttl`"
    if row.expires_us > latest_us:
        return f"expires {utc_text(row.expires_us)}: expected not later than {utc_text(latest_us)}, by `max_ttl`"
    return ""


def fitted(
    before: Snapshot, new: Sequence[Link], gone: Sequence[Link], ending: Iterable[RuntimeRow], question_rows: int
) -> tuple[Snapshot, set[RuntimeRow]]:
    """The snapshot with those of the `new` rows of run time that fit to its files and without the rows that are `gone`, and
    the rows that do not fit: each was looked for without those that were found before. `ending` and `question_rows` are as
    for `unsound`."""
    ceiling = Ceiling(before.policy)
    links = {RuntimeRow(each.member, each.holds, each.scope, each.expires_us or None): each for each in new}
    unfit = {row for row in links if ceiling.closed(row)}
    while True:
        granted = [row for row in links if row not in unfit]
        after = before.changed("", [links[row] for row in granted], gone)
        found = {each.row for each in unsound(before, after, granted, [*ending, *granted], question_rows)}
        if not found - unfit:
            return after, unfit
        unfit |= found


def unsound(
    before: Snapshot,
    after: Snapshot,
    granted: Sequence[RuntimeRow],
    in_force: Iterable[RuntimeRow],
    question_rows: int,
) -> tuple[RowRefusal, ...]:
    """What is wrong with all rows together in `after`, and not in `before`, because of the rows that are granted.

    `in_force` are all rows of run time in `after`, of which only those that end are needed; they are read only if a group is
    granted something. `question_rows` is the limit `policy_max_question_rows`. Reads the rows around those granted only. If
    there are cycles, nothing else is looked for.
    """
    graph = after.graph
    found = [each for row in granted if (each := _ungrounded(graph, row)) is not None]
    if found:
        return tuple(found)
    chains = _Chains(graph)
    for row in granted:
        length = chains.above(row.member) + 1 + chains.below(row.holds)
        if length > CHAIN_LIMIT:
            found.append(RowRefusal(row, f"makes a chain of {length} g rows: expected at most {CHAIN_LIMIT}"))
    if found:
        return tuple(found)
    return (*_too_many_rows(after, granted, question_rows), *_ending_denies(before.graph, graph, granted, in_force))


def _ungrounded(graph: RoleGraph, row: RuntimeRow) -> RowRefusal | None:
    """A row to a role that is not defined, or that closes a cycle."""
    if row.holds.startswith("role:") and not graph.knows(row.holds):
        hint = did_you_mean(row.holds, graph.roles())
        return RowRefusal(row, f"role `{row.holds}` is defined nowhere{hint}")
    way = _way(graph, row.holds, row.member) if row.member.startswith("group:") else None
    return None if way is None else RowRefusal(row, f"makes a cycle: {' -> '.join((row.member, *way))}")


def _way(graph: RoleGraph, start: str, end: str) -> tuple[str, ...] | None:
    """The subjects on a shortest way over g rows."""
    ways: dict[str, tuple[str, ...]] = {start: (start,)}
    waiting = [start]
    for subject in waiting:
        if subject == end:
            return ways[subject]
        for link in graph.links_of(subject):
            if link.holds not in ways:
                ways[link.holds] = (*ways[subject], link.holds)
                waiting.append(link.holds)
    return None


class _Chains:
    """The lengths of the longest chains of g rows, without cycles."""

    def __init__(self, graph: RoleGraph) -> None:
        self._graph = graph
        self._above: dict[str, int] = {}
        self._below: dict[str, int] = {}

    def below(self, subject: str) -> int:
        if subject not in self._below:
            lengths = (1 + self.below(link.holds) for link in self._graph.links_of(subject))
            self._below[subject] = max(lengths, default=0)
        return self._below[subject]

    def above(self, subject: str) -> int:
        if subject.startswith(("user:", "service:")):
            return 0
        if subject not in self._above:
            lengths = (1 + self.above(link.member) for link in self._graph.members_of(subject))
            self._above[subject] = max(lengths, default=0)
        return self._above[subject]


def _too_many_rows(after: Snapshot, granted: Sequence[RuntimeRow], limit: int) -> Iterator[RowRefusal]:
    graph = after.graph
    messages: list[str] = []

    def refuse(_row: Rule | Link | ReachRule, _field: int, message: str) -> None:
        messages.append(message)

    for row in _unlike(after, granted):
        around = _reached([row.member], lambda subject: (link.member for link in graph.members_of(subject)))
        around = _reached(around, lambda subject: (link.holds for link in graph.links_of(subject)))
        rules = [rule for subject in around for rule in graph.rules_of(subject)]
        links = [link for subject in around for link in graph.links_of(subject)]
        check_rows_of_subjects(rules, links, limit, refuse, lambda: None)
        yield from (RowRefusal(row, message) for message in messages)
        messages.clear()
    starred = next((row for row in granted if "*" in row.scope.segments), None)
    if starred is not None:
        check_star_patterns(after.policy.rules, after.policy.links, limit, refuse)
        yield from (RowRefusal(starred, message) for message in messages)


def _unlike(after: Snapshot, granted: Sequence[RuntimeRow]) -> Iterable[RuntimeRow]:
    """A row of each member, of principals that hold the same a row of one."""
    graph, found = after.graph, dict[object, RuntimeRow]()
    for row in {row.member: row for row in granted}.values():
        held: object = row.member
        if not row.member.startswith("group:") and not graph.rules_of(row.member):
            links = graph.links_of(row.member)
            # Most hold one thing: a set of one takes longer to make.
            held = (
                frozenset((each.holds, each.scope.text) for each in links)
                if len(links) > 1
                else (row.holds, row.scope.text)
            )
        found.setdefault(held, row)
    return found.values()


def _reached(start: Iterable[str], onward: Callable[[str], Iterable[str]]) -> list[str]:
    """`start` and all that is reached from it, each once."""
    reached = dict.fromkeys(start)
    waiting = list(reached)
    while waiting:
        more = [each for each in onward(waiting.pop()) if each not in reached]
        reached |= dict.fromkeys(more)
        waiting += more
    return list(reached)


def _ending_denies(
    before: RoleGraph, after: RoleGraph, granted: Sequence[RuntimeRow], in_force: Iterable[RuntimeRow]
) -> Iterator[RowRefusal]:
    """Rows that expire and lead to a deny, and did not before: at their end somebody would gain what nobody granted."""
    new = {row for row in granted if row.expires_us is not None}
    groups = [row.member for row in granted if row.member.startswith("group:")]
    above = {*_reached(groups, lambda subject: (link.member for link in after.members_of(subject)))}
    held = [each for each in in_force if each.expires_us is not None and each.holds in above] if above else ()
    for row in dict.fromkeys((*new, *held)):
        if row.expires_us is not None and _denies(after, row) and (row in new or not _denies(before, row)):
            where = f"in `{row.scope}`" if row.scope != EVERYWHERE else "in the tenant"
            own = "" if row in new else f" `{row.member}` holds it until {utc_text(row.expires_us)}."
            yield RowRefusal(row, f"`{row.holds}` denies something {where}: a row to it must not expire.{own}")


def _denies(graph: RoleGraph, row: RuntimeRow) -> bool:
    return any(
        rule.effect is Effect.DENY and where.overlaps(rule.namespaces)
        for way in graph.reachable(row.holds)
        if (where := way.where.intersection(row.scope)) is not None
        for rule in graph.rules_of(way.subject)
    )
