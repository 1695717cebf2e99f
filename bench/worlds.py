"""Made-up tenants of any size, as policy files, and questions about them. The same size and seed give the same bytes.

Half of the rows are p rows, half are g rows. A role has about ten p rows, a group one to three bindings, each on a whole
department, a team or the whole tenant; a user is in two groups of the same department, groups nest twice, one role in ten includes
another, one p row in thirty denies. So what one principal holds stays about the same while the tenant grows.
"""

import argparse
import random
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from remit.core.names import Namespace
from remit.core.patterns import NamespacePattern

TENANT = "acme"
KINDS = (
    *("FLOW", "EXECUTION", "TRIGGER", "NAMESPACE", "KV_STORE", "NAMESPACE_FILE"),
    *("SECRET", "CREDENTIAL", "DASHBOARD", "TEST", "ASSET", "APP_EXECUTION"),
)
ACTIONS = ("VIEW", "LIST", "CREATE", "UPDATE", "DELETE", "EXECUTE")

Asked = tuple[str, str, str, str]
"""Principal, action, kind, namespace."""

_P_ROWS_A_ROLE = 10
_DENIES = 1 / 30


@dataclass(frozen=True, slots=True)
class Grant:
    """A p row that allows, as the question generator sees it."""

    namespaces: str
    kind: str
    actions: tuple[str, ...]


@dataclass(slots=True)
class World:
    rows: int
    seed: int
    namespaces: list[list[str]] = field(default_factory=list)
    """Of each department, the department itself first."""
    users: list[str] = field(default_factory=list)
    p_rows: list[str] = field(default_factory=list)
    g_rows: list[str] = field(default_factory=list)
    grants: defaultdict[str, list[Grant]] = field(default_factory=lambda: defaultdict(list))
    links: defaultdict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))

    def write(self, directory: Path) -> None:
        """Writes a policy directory."""
        (directory / TENANT).mkdir(parents=True)
        for path, text in self.files().items():
            (directory / path).write_text(text)

    def files(self) -> dict[str, str]:
        """The vocabulary and one tenant's folder, by path."""
        kinds = "".join(f"  {kind}: {{class: namespace, actions: [{', '.join(ACTIONS)}]}}\n" for kind in KINDS)
        return {
            "vocabulary.yaml": f"kinds:\n{kinds}",
            f"{TENANT}/roles.csv": "\n".join([*self.p_rows, ""]),
            f"{TENANT}/bindings.csv": "\n".join([*self.g_rows, ""]),
        }

    def questions(self, users: list[str], count: int, seed: int) -> list[Asked]:
        """`count` distinct questions (principal, action, kind, namespace), each user asked in turn. Every second one is
        drawn from what its principal holds, so about half of the answers are allows."""
        choose = random.Random(seed)
        held = {user: self._held(user) for user in users}
        asked: dict[Asked, None] = {}
        turn = 0
        while len(asked) < count:
            sweep, place = divmod(turn, len(users))
            user = users[place]
            question = self._likely(choose, user, held[user]) if (sweep + place) % 2 else None
            if question is not None and question in asked:
                # All that a principal of a small tenant may do has been asked: go on one level deeper.
                principal, action, kind, namespace = question
                question = (principal, action, kind, f"{namespace}.job{choose.randrange(100)}")
            asked[question or self._any(choose, user)] = None
            turn += 1
        return list(asked)

    def _any(self, choose: random.Random, user: str) -> Asked:
        namespace = choose.choice(choose.choice(self.namespaces))
        return user, choose.choice(ACTIONS), choose.choice(KINDS), namespace

    def _likely(self, choose: random.Random, user: str, held: list[tuple[str, Grant]]) -> Asked | None:
        for _ in range(4):
            scope, grant = choose.choice(held)
            department = self._department(choose, scope, grant.namespaces)
            patterns = [NamespacePattern.parse(text) for text in {scope, grant.namespaces}]
            inside = [name for name in department if all(pattern.contains(Namespace(name)) for pattern in patterns)]
            if inside:
                return user, choose.choice(grant.actions), grant.kind, choose.choice(inside)
        return None

    def _department(self, choose: random.Random, *patterns: str) -> list[str]:
        """The namespaces of the department that one of the patterns begins with, of any where none does."""
        for pattern in patterns:
            first = pattern.partition(".")[0]
            if first not in {"*", "**"}:
                return self.namespaces[int(first.removeprefix("dept"))]
        return choose.choice(self.namespaces)

    def _held(self, user: str) -> list[tuple[str, Grant]]:
        """Grants that chains of the user's lead to, each with the narrowest scope on its chain's last bindings."""
        found: list[tuple[str, Grant]] = []
        waiting = [(user, "**")]
        while waiting:
            subject, scope = waiting.pop()
            found += [(scope, grant) for grant in self.grants[subject]]
            waiting += [(holds, scope if wider == "**" else wider) for holds, wider in self.links[subject]]
        return found


def make(rows: int, seed: int = 1) -> World:
    """A world with `rows` rows, at least 200 and even."""
    choose = random.Random(f"{rows}/{seed}")
    world = World(rows, seed)
    half = rows // 2
    _namespaces(world, choose, max(400, half // 25))
    roles = _roles(world, choose, half)
    _links(world, choose, half, roles)
    return world


def _namespaces(world: World, choose: random.Random, count: int) -> None:
    departments = max(4, int(count**0.5))
    teams = max(3, count // departments // 4)
    for department in range(departments):
        root = f"dept{department}"
        names = [root]
        for team in range(teams):
            names.append(f"{root}.team{team}")
            for project in range(choose.randint(1, 3)):
                names.append(f"{root}.team{team}.project{project}")
                if choose.random() < 1 / 3:
                    names.append(f"{root}.team{team}.project{project}.prod")
        world.namespaces.append(names)


def _pattern(world: World, choose: random.Random, department: int) -> str:
    """Where a p row or a binding holds: mostly the tenant, a department or a team."""
    draw = choose.random()
    if draw < 0.25:
        return "**"
    if draw < 0.3:
        return "*.*.*.prod"
    name = choose.choice(world.namespaces[department])
    if draw < 0.55:
        return f"dept{department}.**"
    if draw < 0.6:
        return f"dept{department}.*"
    if draw < 0.95:
        return f"{'.'.join(name.split('.')[:2])}.**"
    return name


def _roles(world: World, choose: random.Random, p_rows: int) -> list[list[str]]:
    """Makes the p rows; the roles by department."""
    roles: list[list[str]] = [[] for _ in world.namespaces]
    made: set[tuple[str, str, str]] = set()
    for index in range(max(len(roles), p_rows // _P_ROWS_A_ROLE)):
        roles[index % len(roles)].append(f"role:r{index}")
    everyone = [(role, department) for department, names in enumerate(roles) for role in names]
    while len(world.p_rows) < p_rows:
        # Each role gets its first row before any gets its second: a role without one is defined nowhere.
        role, department = everyone[len(world.p_rows) % len(everyone)]
        namespaces, kind = _pattern(world, choose, department), choose.choice(KINDS)
        if (role, namespaces, kind) in made:
            continue
        made.add((role, namespaces, kind))
        actions = tuple(choose.sample(ACTIONS, choose.choice((1, 2, 2, 3, 4))))
        effect = "deny" if choose.random() < _DENIES else "allow"
        world.p_rows.append(f"p, {role}, {TENANT}, {namespaces}, {kind}, {'|'.join(actions)}, {effect}")
        if effect == "allow":
            world.grants[role].append(Grant(namespaces, kind, actions))
    return roles


def _links(world: World, choose: random.Random, g_rows: int, roles: list[list[str]]) -> None:
    """Makes the g rows: groups and roles first, then users until there are enough rows."""
    departments = range(len(roles))
    each = max(4, g_rows // len(roles) // 16)
    groups = [[f"group:d{department}-g{index}" for index in range(each)] for department in departments]
    for department in departments:
        _nest(world, choose, groups[department])
        for group in groups[department]:
            for role in choose.sample(roles[department], min(choose.randint(1, 3), len(roles[department]))):
                _link(world, group, role, _pattern(world, choose, department))
        including = len(roles[department]) // 10
        for role in roles[department][:including]:
            _link(world, role, choose.choice(roles[department][including:]), "**")
    while len(world.g_rows) < g_rows:
        department = choose.choice(departments)
        number = len(world.users)
        user = f"service:s{number}" if number % 10 == 9 else f"user:u{number}"
        world.users.append(user)
        for group in choose.sample(groups[department], 2):
            _link(world, user, group, "**")
        if choose.random() < 0.25:
            _link(world, user, choose.choice(roles[department]), _pattern(world, choose, department))
    del world.g_rows[g_rows:]


def _nest(world: World, choose: random.Random, groups: list[str]) -> None:
    """Half of the groups are in another: of three tiers, so that no chain is longer than user, three groups, two roles."""
    tiers = [
        groups[: len(groups) // 2],
        groups[len(groups) // 2 : len(groups) * 3 // 4],
        groups[len(groups) * 3 // 4 :],
    ]
    for tier, above in pairwise(tiers):
        for group in tier:
            if choose.random() < 0.5:
                _link(world, group, choose.choice(above), "**")


def _link(world: World, member: str, holds: str, scope: str) -> None:
    written = TENANT if scope == "**" else f"{TENANT}/{scope}"
    world.g_rows.append(f"g, {member}, {holds}, {written}")
    world.links[member].append((holds, scope))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="where to write the policy directory; must not exist")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    world = make(arguments.rows, arguments.seed)
    world.write(arguments.directory)
    names = sum(len(department) for department in world.namespaces)
    print(f"{len(world.p_rows)} p rows, {len(world.g_rows)} g rows, {len(world.users)} principals, {names} namespaces")


if __name__ == "__main__":
    main()
