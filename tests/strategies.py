"""Whole worlds (policy directories as texts), patterns, namespaces and names, out of small alphabets.

A world is drawn from a `random.Random`. Hypothesis hands in one whose every draw it knows and shrinks; the long run
(million.py) hands in a seeded one: both walk the same worlds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, NamedTuple

from hypothesis import strategies as st

from remit.core.names import NAMESPACE_LIMIT
from remit.core.patterns import NamespacePattern

# Kept by hand: sibling prefixes, words of routes and keywords, segments that differ by one character.
NASTY_SEGMENTS: Final = (
    *("a", "b", "prod", "prod2", "prod-2", "prod_2", "pro", "system", "systems", "webhook", "a-b_c", "a-b-c", "p", "g"),
    *("r", "allow", "deny", "true", "no", "null", "0", "1-10", "2024", "tenant", "none", "main", "api", "x__"),
    "long" * 15,
)
NASTY_IDS: Final = (
    *(
        "alice",
        "Alice",
        "alice2",
        "ali",
        "a:b",
        "a/b",
        "a@b.example",
        "..",
        ".",
        "role:admin",
        "group:staff",
        "user:bob",
    ),
    *(
        "p.sub",
        "r.tenant",
        "acme/a.b",
        "true",
        "None",
        "$x",
        "%s",
        "a&b",
        "a'b",
        "`",
        "~",
        "!",
        "a;b",
        "a=b",
        "<x>",
        "^",
        "+",
    ),
    *("admin", "viewer", "g", "p", "x" * 256),
)
TENANTS: Final = ("acme", "acme2", "_instance")
KINDS: Final = {
    "FLOW": ("namespace", ("VIEW", "LIST", "UPDATE")),
    "FLOWS": ("namespace", ("VIEW", "UPDATE")),
    "Flow": ("namespace", ("View", "VIEW")),
    "VIEW": ("namespace", ("VIEW",)),
    "TENANT_FLOWS": ("tenant", ("VIEW", "UPDATE")),
    "BLUEPRINT": ("tenant", ("VIEW", "CREATE")),
    "USER": ("tenant", ("VIEW", "LIST", "UPDATE")),
    "TENANT": ("instance", ("VIEW", "CREATE")),
    "WORKER": ("instance", ("VIEW",)),
}
RELATIONS: Final = {"SUBFLOW": False, "SUB": False, "KV": True, "SECRET": True}
OPERATIONS: Final = {
    "read": ("FLOW VIEW",),
    # Of the kinds asked about a parent, one also exists in the tenant.
    "move": ("FLOW VIEW", "FLOWS UPDATE at parent", "FLOW LIST at parent"),
    "rename": ("FLOWS VIEW at parent", "FLOWS UPDATE at parent"),
    "publish": ("FLOW UPDATE", "BLUEPRINT CREATE"),
    "invite": ("USER UPDATE", "BLUEPRINT VIEW"),
    "provision": ("TENANT CREATE", "WORKER VIEW"),
}
SERVICES: Final = ("WEBSERVER", "WORKER", "Worker")
RESOURCES: Final = {
    "storage": {"own": ("acme",), "shared": ("acme", "acme2"), "theirs": ("acme2",)},
    "secrets": {"own": ("acme",), "other": ("acme", "_instance"), "shared": ("acme", "acme2", "_instance")},
    "worker_group": {},
}
"""By type, the tenants that each resource is open to."""
LONG_NAMESPACES: Final = tuple("l" * count for count in (147, 148, 149, 150))
"""Behind which `.**` has room, or only a namespace of one letter, or nothing."""


def _operand(part: str) -> str:
    kind, action, *at = part.split()
    return f"{{kind: {kind}, action: {action}{', at: parent' if at else ''}}}"


VOCABULARY: Final = "\n".join(
    [
        "kinds:",
        *(f"  {kind}: {{class: {side}, actions: [{', '.join(acts)}]}}" for kind, (side, acts) in KINDS.items()),
        "relations:",
        *(f"  {name}: {{{'inherited: true' if inherited else ''}}}" for name, inherited in RELATIONS.items()),
        "operations:",
        *(f"  {name}: [{', '.join(map(_operand, parts))}]" for name, parts in OPERATIONS.items()),
        f"services: [{', '.join(SERVICES)}]",
        "",
    ]
).encode()


class Names(NamedTuple):
    """What the rows of a world are made of."""

    segments: tuple[str, ...]
    ids: tuple[str, ...]
    managed: list[str]


@dataclass(frozen=True, slots=True)
class World:
    files: dict[str, bytes]
    segments: tuple[str, ...]
    """The literals its patterns are made of."""
    subjects: tuple[str, ...] = field(default=(), repr=False)
    """Everyone its rows may name, managed roles apart."""

    def __repr__(self) -> str:
        return "\n".join(f"--- {path}\n{content.decode()}" for path, content in self.files.items() if content)

    def with_rows(self, file: str, *rows: str) -> "World":
        """The same with these rows at the file's end."""
        more = "".join(f"{row}\n" for row in rows).encode()
        return World({**self.files, file: self.files.get(file, b"") + more}, self.segments, self.subjects)


def pick(random: Random, choices: Sequence[str]) -> str:
    return choices[random.randrange(len(choices))]


def some(random: Random, choices: Sequence[str], most: int) -> list[str]:
    """One to `most` distinct ones, in the order of `choices`."""
    picked = {random.randrange(len(choices)) for _ in range(random.randint(1, most))}
    return [choices[index] for index in sorted(picked)]


def pattern_text(random: Random, segments: Sequence[str]) -> str:
    """A legal pattern: two in three subtrees, every fourth segment a star."""
    depth = random.randint(0, 3)
    subtree = depth == 0 or random.randrange(3) > 0
    parts = ["*" if random.randrange(4) == 0 else pick(random, segments) for _ in range(depth)]
    text = ".".join([*parts, "**"] if subtree else parts)
    return text if len(text) <= NAMESPACE_LIMIT else "**"


def namespace_text(random: Random, segments: Sequence[str], *, least: int = 1) -> str:
    parts = [pick(random, (*segments, "zz")) for _ in range(random.randint(least, 4))]
    while len(".".join(parts)) > NAMESPACE_LIMIT:
        parts.pop()
    return ".".join(parts)


def world(random: Random) -> World:
    segments = tuple(some(random, NASTY_SEGMENTS, 4))
    ids = tuple(some(random, NASTY_IDS, 6))
    managed = [f"role:{each}" for each in ("admin", "viewer")[: random.randint(0, 2)]]
    files = {
        "vocabulary.yaml": VOCABULARY,
        "resources.yaml": _resources(random),
        "roles.csv": _lines(
            _rule_row(random, role, "*", segments, "acme") for role in managed for _ in range(random.randint(1, 2))
        ),
    }
    subjects: list[str] = []
    for tenant in TENANTS[: random.randint(1, 3)]:
        files |= _tenant_files(random, tenant, Names(segments, ids, managed), subjects)
    return World(files, segments, tuple(dict.fromkeys(subjects)))


def _tenant_files(random: Random, tenant: str, names: Names, subjects: list[str]) -> dict[str, bytes]:
    segments, ids, managed = names
    people = [f"{pick(random, ('user', 'service'))}:{each}" for each in ids]
    # Ordered, so that a row only ever points onward: no cycles, and no chain of more than nine rows.
    short = [each for each in ids if len(each) < 100] or ["x"]
    groups = [f"group:{pick(random, short)}{number}" for number in range(random.randint(0, 5))]
    roles = [f"role:{pick(random, short)}{number}" for number in range(random.randint(0, 4))]
    subjects += [*people, *groups, *roles]
    mine = [] if tenant == "_instance" else managed
    rules = [_rule_row(random, role, tenant, segments, tenant) for role in roles for _ in range(random.randint(1, 2))]
    rules += [
        _rule_row(random, pick(random, (*people, *groups)), tenant, segments, tenant)
        for _ in range(random.randint(0, 2))
    ]
    links = []
    for index, group in enumerate(groups):
        onward = [*groups[index + 1 :], *roles, *mine]
        links += [(group, pick(random, onward)) for _ in range(random.randint(0, 2)) if onward]
    for index, role in enumerate(roles):
        onward = [*roles[index + 1 :], *mine]
        links += [(role, pick(random, onward)) for _ in range(random.randint(0, 1)) if onward]
    held = [*groups, *roles, *mine]
    links += [(person, pick(random, held)) for person in people for _ in range(random.randint(0, 3)) if held]
    bindings = [f"g, {member}, {holds}, {_scope(random, tenant, segments)}" for member, holds in links]
    files = {f"{tenant}/roles.csv": _lines(rules), f"{tenant}/bindings.csv": _lines(bindings)}
    if tenant != "_instance":
        files[f"{tenant}/reach.csv"] = _lines(reach_rows(random, tenant, segments))
    manifest = _dedicated(random, tenant, segments)
    if random.randrange(6) == 0:
        listed = some(random, (*people, *groups, "user:nobody"), 3)
        manifest.append(f"access: [{', '.join(map(repr_yaml, listed))}]")
    if manifest:
        files[f"{tenant}/tenant.yaml"] = _lines(manifest)
    return files


def _resources(random: Random) -> bytes:
    def entry(name: str, tenants: Sequence[str]) -> str:
        denied = some(random, SERVICES, 2) if random.randrange(2) else []
        return f"  {name}: {{tenants: [{', '.join(tenants)}], denied_services: [{', '.join(denied)}]}}"

    lines = []
    for section, entries in RESOURCES.items():
        lines += [f"{section}:", *(entry(*each) for each in entries.items())] if entries else [f"{section}: {{}}"]
    return _lines(lines)


def _dedicated(random: Random, tenant: str, segments: Sequence[str]) -> list[str]:
    """The lines of a manifest that say what serves the tenant and some of its namespaces, the near ones of one another
    among them."""

    def named() -> str:
        found = []
        for section, entries in RESOURCES.items():
            opened = [name for name, tenants in entries.items() if tenant in tenants]
            if opened and random.randrange(3):
                found.append(f"{section}: {pick(random, opened)}")
        return f"{{{', '.join(found)}}}"

    lines = [f"dedicated: {named()}"] if random.randrange(2) else []
    if tenant == "_instance" or random.randrange(3) == 0:
        return lines
    levels = {namespace_text(random, segments) for _ in range(random.randint(1, 4))}
    levels |= {
        above for level in levels if "." in level and random.randrange(2) for above in [level.rpartition(".")[0]]
    }
    levels |= {pick(random, LONG_NAMESPACES) for _ in range(random.randint(0, 1))}
    return [*lines, "namespaces:", *(f"  '{level}': {{dedicated: {named()}}}" for level in sorted(levels))]


def repr_yaml(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def rule_row(random: Random, subject: str, tenant: str, segments: Sequence[str]) -> str:
    """A p row that the loader accepts."""
    return _rule_row(random, subject, tenant, segments, tenant)


def link_row(random: Random, member: str, holds: str, tenant: str, segments: Sequence[str]) -> str:
    return f"g, {member}, {holds}, {_scope(random, tenant, segments)}"


def _rule_row(random: Random, subject: str, tenant: str, segments: Sequence[str], side: str) -> str:
    classes = {"instance"} if side == "_instance" else {"namespace", "tenant"}
    here = [kind for kind, (its, _) in KINDS.items() if its in classes]
    kinds = "|".join(some(random, here, 2)) if random.randrange(4) else "*"
    named = here if kinds == "*" else kinds.split("|")
    shared = [act for act in KINDS[named[0]][1] if all(act in KINDS[kind][1] for kind in named)] if kinds != "*" else []
    actions = "|".join(some(random, shared, 2)) if shared and random.randrange(3) else "*"
    namespaced = any(KINDS[kind][0] == "namespace" for kind in named)
    where = pattern_text(random, segments) if namespaced and random.randrange(3) else "**"
    effect = "deny" if random.randrange(4) == 0 else "allow"
    return f"p, {subject}, {tenant}, {where}, {kinds}, {actions}, {effect}"


def _scope(random: Random, tenant: str, segments: Sequence[str]) -> str:
    pattern = pattern_text(random, segments) if random.randrange(3) else "**"
    return tenant if pattern == "**" else f"{tenant}/{pattern}"


def reach_rows(random: Random, tenant: str, segments: Sequence[str]) -> list[str]:
    """Reach rows of which no earlier one covers a later."""
    kept: list[tuple[NamespacePattern, NamespacePattern, set[str]]] = []
    rows = []
    for _ in range(random.randint(0, 4)):
        caller, owner = pattern_text(random, segments), pattern_text(random, segments)
        relations = some(random, tuple(RELATIONS), 2) if random.randrange(3) else ["*"]
        patterns = NamespacePattern.parse(caller), NamespacePattern.parse(owner)
        if not any(
            before[0].covers(patterns[0])
            and before[1].covers(patterns[1])
            and (before[2] >= set(relations) or "*" in before[2])
            for before in kept
        ):
            kept.append((*patterns, set(relations)))
            effect = pick(random, ("allow", "deny"))
            rows.append(f"p, {tenant}, {caller}, {owner}, {'|'.join(relations)}, {effect}")
    return rows


def _lines(rows: Iterable[str]) -> bytes:
    return "".join(f"{row}\n" for row in rows).encode()


CALLER_ACTIONS: Final = (
    "CHECK",
    "LIST",
    "RESOLVE",
    "WHO",
    "EXPLAIN",
    "READ",
    "STATUS",
    "WATCH",
    "AUDIT",
    "PIN",
    "BIND",
)
CALLERS_VOCABULARY: Final = (
    "kinds:\n"
    f"  REMIT: {{class: namespace, actions: [{', '.join(CALLER_ACTIONS)}]}}\n"
    f"  REMIT_INSTANCE: {{class: tenant, actions: [{', '.join((*CALLER_ACTIONS, 'ACT_FOR'))}]}}\n"
).encode()
"""The words of `_callers`, as vocabulary.yaml would declare them."""


def callers_world(random: Random) -> World:
    """A folder `_callers` in which the segments are tenants, beside a root that speaks of other kinds."""
    tenants = tuple(some(random, [each for each in NASTY_SEGMENTS if len(each) < 64], 4))
    ids = some(random, NASTY_IDS, 4)
    short = [each for each in ids if len(each) < 100] or ["x"]
    people = [f"{pick(random, ('user', 'service'))}:{each}" for each in ids]
    # Ordered, as the groups and roles of tenants are.
    groups = [f"group:{pick(random, short)}{number}" for number in range(random.randint(0, 3))]
    roles = [f"role:{pick(random, short)}{number}" for number in range(random.randint(1, 4))]

    def pattern() -> str:
        tenant = pick(random, tenants)
        return pick(random, ("**", "*", "*.**", tenant, tenant, f"{tenant}.**"))

    def rule(subject: str) -> str:
        kinds = pick(random, ("REMIT", "REMIT", "REMIT|REMIT_INSTANCE", "REMIT_INSTANCE", "*"))
        where = "**" if kinds == "REMIT_INSTANCE" else pattern()
        actions = "|".join(some(random, CALLER_ACTIONS, 4)) if random.randrange(4) else "*"
        return f"p, {subject}, _callers, {where}, {kinds}, {actions}, {'allow' if random.randrange(4) else 'deny'}"

    def link(member: str, holds: str) -> str:
        where = pattern()
        return f"g, {member}, {holds}, {'_callers' if where == '**' else f'_callers/{where}'}"

    held = [*groups, *roles]
    bindings = [link(person, pick(random, held)) for person in people for _ in range(random.randint(0, 3))]
    for index, group in enumerate(groups):
        bindings += [link(group, pick(random, held[index + 1 :])) for _ in range(random.randint(0, 2))]
    bindings += [link(role, roles[-1]) for role in roles[:-1] if random.randrange(3) == 0]
    bindings += [rule(pick(random, (*people, *groups))) for _ in range(random.randint(0, 3))]
    files = {
        "vocabulary.yaml": VOCABULARY,
        "roles.csv": _lines(["p, role:admin, *, **, *, *, allow"]),
        "_callers/roles.csv": _lines(rule(role) for role in roles for _ in range(random.randint(1, 2))),
        "_callers/bindings.csv": _lines(bindings),
    }
    return World(files, tenants, tuple(dict.fromkeys([*people, *groups, *roles])))


randoms = st.randoms(use_true_random=False)
segments_lists = st.lists(st.sampled_from(NASTY_SEGMENTS), min_size=1, max_size=3, unique=True)


@st.composite
def _worlds(draw: st.DrawFn) -> World:
    return world(draw(randoms))


worlds = _worlds()


@st.composite
def _callers_worlds(draw: st.DrawFn) -> World:
    return callers_world(draw(randoms))


callers_worlds = _callers_worlds()

_small = st.sampled_from(("a", "b", "a2", "a-b_c", "prod", "prod2"))
namespaces = st.lists(_small, max_size=4).map(".".join)
"""The empty one, the tenant itself, among them."""


@st.composite
def patterns(draw: st.DrawFn) -> NamespacePattern:
    segments = draw(st.lists(st.one_of(_small, st.just("*")), max_size=4))
    subtree = not segments or draw(st.booleans())
    return NamespacePattern.parse(".".join([*segments, "**"] if subtree else segments))
