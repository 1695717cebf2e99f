"""Checks over all g rows and reach rows of a tenant together."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from remit.core.rows import Link, ReachRule, Rule
from remit.engine.reach import ReachIndex
from remit.engine.role_graph import CHAIN_LIMIT
from remit.policy.read.report import did_you_mean

Refuse = Callable[[Rule | Link | ReachRule, int, str], None]
"""Reports an error in a row: the row, the index of the wrong field (0 for its type), and the message."""


def check_graph(
    rules: Sequence[Rule],
    links: Sequence[Link],
    managed: Collection[str],
    at: Refuse,
    refused: Collection[str] | None = (),
) -> None:
    """Reports undefined roles, extended managed roles, cycles, and chains longer than CHAIN_LIMIT.

    `refused` are the subjects and members of invalid rows; None if a whole file is invalid. A role that these would
    define is not reported as missing, because its cause is already reported.
    """
    defined = {
        *managed,
        *(refused or ()),
        *(rule.subject for rule in rules if rule.subject.startswith("role:")),
        *(link.member for link in links if link.member.startswith("role:")),
    }
    for rule in rules:
        if rule.subject in managed and rule.tenant != "*":
            at(rule, 1, f"`{rule.subject}` is a managed role: a tenant may bind and include it, never extend it")
    for link in links:
        if link.member in managed:
            at(link, 1, f"`{link.member}` is a managed role: a tenant may bind and include it, never extend it")
        if link.holds.startswith("role:") and refused is not None and link.holds not in defined:
            hint = did_you_mean(link.holds, defined)
            at(
                link,
                2,
                f"role `{link.holds}` is bound but defined nowhere: no p row names it and it includes none{hint}",
            )
    inner: dict[str, list[Link]] = {}
    for link in links:
        if link.member.startswith(("group:", "role:")):
            inner.setdefault(link.member, []).append(link)
    longest = _longest_chains(inner, at)
    if longest is None:
        return
    for chain in _too_long(links, longest):
        names = " -> ".join([chain[0].member, *(link.holds for link in chain)])
        places = ", ".join(link.place for link in chain)
        at(
            chain[0],
            1,
            f"a chain of {len(chain)} g rows, expected at most {CHAIN_LIMIT}: {names} ({places})",
        )


def _longest_chains(inner: Mapping[str, Sequence[Link]], at: Refuse) -> Mapping[str, tuple[int, Link | None]] | None:
    """The length of the longest chain from every group and role, and that chain's first row; None on a cycle."""
    longest: dict[str, tuple[int, Link | None]] = {}
    cycles = False
    for start in inner:
        if start in longest:
            continue
        path = [(start, iter(inner[start]))]
        on_path = {start}
        while path:
            subject, onward = path[-1]
            link = next(onward, None)
            if link is None:
                longest[subject] = max(
                    ((longest[each.holds][0] + 1, each) for each in inner.get(subject, ()) if each.holds in longest),
                    key=lambda each: each[0],
                    default=(0, None),
                )
                on_path.remove(subject)
                path.pop()
            elif link.holds in on_path:
                names = [name for name, _ in path]
                cycle = [*names[names.index(link.holds) :], link.holds]
                at(link, 2, f"a cycle: {' -> '.join(cycle)}")
                cycles = True
            elif link.holds not in longest:
                on_path.add(link.holds)
                path.append((link.holds, iter(inner.get(link.holds, ()))))
    return None if cycles else longest


def _too_long(links: Iterable[Link], longest: Mapping[str, tuple[int, Link | None]]) -> Iterable[tuple[Link, ...]]:
    """The whole longest chain from every row that begins one longer than the limit and is not itself inside a chain."""
    held = {link.holds for link in links}
    for link in links:
        if link.member not in held and longest.get(link.holds, (0, None))[0] + 1 > CHAIN_LIMIT:
            chain = [link]
            onward = longest[link.holds][1]
            while onward is not None:
                chain.append(onward)
                onward = longest[onward.holds][1] if onward.holds in longest else None
            yield tuple(chain)


def check_reach(reach: Sequence[ReachRule], at: Refuse) -> None:
    """Reports rows that an earlier row covers: they can never decide."""
    index = ReachIndex(reach)
    for rule in reach:
        earlier = index.first_covering(rule)
        if earlier is not None and earlier is not rule:
            at(rule, 0, f"`{rule.text}` can never decide: {earlier.place} covers it: `{earlier.text}`")
