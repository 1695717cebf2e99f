"""Random grants, renewals and revokes at run time in small random worlds, between edits of the files, each judged by remit and
by the naive reference: no row ever gives what its granter did not hold when it was granted, for that long; no row is outside
the files' ceiling; nothing is refused without cause.

    python tests/bindings.py --changes 100000 --seed 7

Progress on stderr. Exits 1 at the first difference, with the world's files, the rows in force and the change.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from million import DifferenceFoundError
from reference import Reference, covers, one_of
from strategies import pick, some
from support.trees import load

from remit.core.names import Namespace, Principal, Word
from remit.core.runtime import RuntimeRow, parse_runtime_row
from remit.engine.diff.escalation import binding_question, escalations
from remit.engine.snapshot import Snapshot
from remit.policy.ceiling import Ceiling, unsound

CHANGES = 40
"""In one world, one after the other."""
CHAIN = 9
MINUTE_US = 60_000_000
TTL_S = 600
KINDS = {"FLOW": ("namespace", ("VIEW", "UPDATE")), "BOARD": ("tenant", ("VIEW",))}
PATTERNS = ("a", "a.*", "a.**", "a.b", "*.b.**", "*.**", "b.**", "*", "b.a.**", "a.*.**")
USERS = ("user:u0", "user:u1", "user:u2", "service:s")
GROUPS = ("group:g0", "group:g1", "group:g2")
ROLES = ("role:r0", "role:r1", "role:r2", "role:r3")
SUSPENDED = "group:out"
# Those that no file names.
NEWCOMERS = ("user:new", "group:new")
SPACE = [".".join(parts) for depth in range(1, 4) for parts in itertools.product("abz", repeat=depth)]
Files = Mapping[str, bytes]
Held = frozenset[tuple[str, str, str]]
"""Kind, action, namespace."""


@dataclass
class Tally:
    """How many changes each gate refused, and how many passed all."""

    accepted: int = 0
    outside: int = 0
    unsound: int = 0
    escalating: int = 0
    unasked: int = 0
    """Accepted by the ceiling, and the granter may not grant at all."""
    expired: int = 0
    freely: int = 0
    """Accepted only because the granter may GRANT_ANY."""
    renewed: int = 0
    """Accepted rows that were in force already, with another end."""
    edited: int = 0

    @property
    def changes(self) -> int:
        return self.accepted + self.outside + self.unsound + self.escalating


def files_of(random: Random) -> Files:
    side = pick(random, ("tenant", "namespace"))
    kinds = {**KINDS, "BINDING": (side, ("CREATE", "DELETE", "GRANT_ANY"))}
    words = "".join(
        f"  {kind}: {{class: {where}, actions: [{', '.join(acts)}]}}\n" for kind, (where, acts) in kinds.items()
    )
    patterns = some(random, PATTERNS, 4)

    def rule(subject: str, tenant: str = "acme") -> str:
        kind = pick(random, ("*", "FLOW", "FLOW", "BOARD", "BINDING"))
        action = pick(random, ("*", *kinds[kind][1])) if kind != "*" else pick(random, ("*", "VIEW"))
        where = "**" if kind != "*" and kinds[kind][0] == "tenant" else pick(random, ("**", *patterns))
        return f"p, {subject}, {tenant}, {where}, {kind}, {action}, {'deny' if random.randrange(4) == 0 else 'allow'}\n"

    def link(member: str, holds: str) -> str:
        where = pick(random, ("", *(f"/{pattern}" for pattern in patterns)))
        return f"g, {member}, {holds}, acme{where}\n"

    rows = [rule(role) for role in ROLES for _ in range(random.randint(1, 2))]
    rows += [rule(pick(random, (*USERS, *GROUPS))) for _ in range(random.randint(0, 3))]
    rows += [link(ROLES[0], ROLES[1]), link(ROLES[1], ROLES[3])][: random.randint(0, 2)]
    rows += [link(each, pick(random, (*GROUPS[index + 1 :], *ROLES))) for index, each in enumerate(GROUPS)]
    rows += [
        link(pick(random, USERS), pick(random, (*GROUPS, *ROLES, "role:managed"))) for _ in range(random.randint(0, 5))
    ]
    rows += [f"p, {SUSPENDED}, acme, **, *, *, deny\n"]
    if random.randrange(3) == 0:
        rows.append(f"p, {pick(random, USERS)}, acme, **, *, *, allow\n")
    where = "**" if side == "tenant" else pick(random, ("**", *patterns))
    rows += [f"p, {each}, acme, {where}, BINDING, *, allow\n" for each in some(random, USERS, 2) if random.randrange(3)]
    scopes = ["**"] if random.randrange(4) else some(random, patterns, 3)
    roles = ["role:*"] if random.randrange(3) else some(random, (*ROLES, "role:m*"), 4)
    groups = ["group:*"] if random.randrange(3) else some(random, GROUPS, 2)
    opened = [f"roles: [{', '.join(_quoted(roles))}]", f"groups: [{', '.join(_quoted(groups))}]"]
    opened = opened[: random.randint(1, 4)]
    opened += [f"scopes: [{', '.join(_quoted(scopes))}]"]
    opened += [f"max_ttl: {TTL_S}s"] if random.randrange(4) == 0 else []
    opened += [f"suspend: {SUSPENDED}"] if random.randrange(2) else []
    manifest = f"runtime: {{{', '.join(opened)}}}\n"
    if random.randrange(4) == 0:
        manifest += f"access: [{', '.join(some(random, (*USERS, *GROUPS, *NEWCOMERS), 3))}]\n"
    return {
        "vocabulary.yaml": f"kinds:\n{words}".encode(),
        "roles.csv": rule("role:managed", "*").encode(),
        "acme/bindings.csv": "".join(rows).encode(),
        "acme/tenant.yaml": manifest.encode(),
    }


def _quoted(texts: Iterable[str]) -> Iterator[str]:
    return (f"'{text}'" for text in texts)


class Naive:
    """The rows of the files and those in force, tried out one namespace after another."""

    def __init__(self, files: Files, rows: Iterable[RuntimeRow]) -> None:
        self.reference = reference = Reference(files, "acme")
        reference.g += [(row.member, row.holds, row.scope.text) for row in rows]
        patterns = {scope for _, _, scope in reference.g} | {row[3] for row in reference.p} | {*PATTERNS}
        alike = {tuple(covers(pattern, name) for pattern in patterns): name for name in reversed(SPACE)}
        self.namespaces = ["", *alike.values()]
        self._held: dict[str, Held] = {}

    def holds(self, principal: str, *, listed: bool | None = None) -> Held:
        """All that a principal may; `listed` says if it is on the access list, whatever the files say."""
        key = f"{principal} {listed}"
        if key not in self._held:
            self._held[key] = frozenset(self._found(principal, listed))
        return self._held[key]

    def _found(self, principal: str, listed: bool | None) -> Iterator[tuple[str, str, str]]:
        reference = self.reference
        if not (listed or self.admitted(principal)):
            return
        for namespace in self.namespaces:
            held = reference.held(principal, namespace)
            rows = [row for row in reference.p if row[1] in held and covers(row[3], namespace)]
            for kind, words in reference.kinds.items():
                if (words["class"] == "namespace") == (namespace != ""):
                    for action in words["actions"]:
                        effects = {row[6] for row in rows if one_of(kind, row[4]) and one_of(action, row[5])}
                        if effects == {"allow"}:
                            yield kind, action, namespace

    def admitted(self, subject: str) -> bool:
        reference = self.reference
        return reference.access is None or bool(reference.held(subject, "", any_scope=True) & set(reference.access))

    def gained(self, before: "Naive", subject: str) -> Held:
        """What a principal gains; of a group, whoever joins it, on the access list or not."""
        if not subject.startswith("group:"):
            return self.holds(subject) - before.holds(subject)
        # A member holds the group everywhere, and nothing else.
        gains = [self.holds(subject, listed=listed) - before.holds(subject, listed=listed) for listed in (True, None)]
        return gains[0] | gains[1]

    def may(self, granter: str, action: str, scope: str) -> bool:
        held = self.holds(granter)
        if self.reference.kinds["BINDING"]["class"] == "tenant":
            return ("BINDING", action, "") in held
        return all(("BINDING", action, name) in held for name in self.namespaces if name and covers(scope, name))

    def free(self, granter: str, change: tuple[str, str, str]) -> bool:
        held = self.holds(granter)
        return ("BINDING", "GRANT_ANY", "") in held or ("BINDING", "GRANT_ANY", change[2]) in held

    def chains(self, subject: str, way: tuple[str, ...] = ()) -> int:
        """The longest chain from here; more than any number of rows on a cycle."""
        if subject in way:
            return 1_000
        onward = {holds for member, holds, _ in self.reference.g if member == subject}
        return max((1 + self.chains(each, (*way, subject)) for each in onward), default=0)

    def denies(self, row: RuntimeRow) -> bool:
        return any(
            each[1] in self.reference.held(row.holds, name) and covers(each[3], name) and each[6] == "deny"
            for name in self.namespaces
            if covers(row.scope.text, name)
            for each in self.reference.p
        )

    def sound(self, rows: Iterable[RuntimeRow]) -> bool:
        """Each role is defined, no chain is too long, and no deny expires."""
        roles = {row[1] for row in self.reference.p} | {member for member, _, _ in self.reference.g}
        return (
            all(holds in roles for _, holds, _ in self.reference.g if holds.startswith("role:"))
            and all(self.chains(member) <= CHAIN for member, _, _ in self.reference.g)
            and not any(row.expires_us is not None and self.denies(row) for row in rows)
        )


@dataclass
class Judge:
    """What a change gives beyond its granter, as the guide for grants says it: tried out at each time at which a row ends."""

    files: Files
    rows: Sequence[RuntimeRow]
    """In force before."""
    granted: Sequence[RuntimeRow]
    revoked: Sequence[RuntimeRow]
    """Also those that are granted anew."""
    granter: str
    now_us: int

    def __post_init__(self) -> None:
        ends = {row.expires_us for row in (*self.rows, *self.granted) if row.expires_us is not None}
        self.times = [self.now_us, *sorted(end for end in ends if end > self.now_us)]
        again = {(row.member, row.holds, row.scope.text) for row in self.granted}
        lost = [row for row in self.revoked if (row.member, row.holds, row.scope.text) not in again]
        self.before = Naive(self.files, self.rows)
        self.left = Naive(self.files, [row for row in self.rows if row not in lost])
        self.after_rows = [*(row for row in self.rows if row not in self.revoked), *self.granted]
        self.after = Naive(self.files, self.after_rows)
        self._mine: dict[int, Held] = {}

    def mine(self, time_us: int) -> Held:
        """What the granter holds now and will still hold at a time."""
        if time_us not in self._mine:
            then = Naive(self.files, [row for row in self.rows if row.counts(time_us)])
            self._mine[time_us] = self.before.holds(self.granter) & then.holds(self.granter)
        return self._mine[time_us]

    def given(self, row: RuntimeRow, time_us: int) -> Held:
        """What a principal without other rows may do by the row."""
        rows = [each for each in self.after_rows if each.counts(time_us)]
        alone = replace(row, member=parse_runtime_row("user:alone", row.holds).member)
        return Naive(self.files, [*rows, alone]).holds("user:alone", listed=True)

    def excess(self, subjects: Iterable[str], *, free: bool = True) -> set[tuple[str, ...]]:
        found: set[tuple[str, ...]] = set()

        def judge(subject: str, gained: Held, time_us: int) -> None:
            beyond = gained - self.mine(time_us)
            found.update((subject, *each) for each in beyond if not (free and self.before.free(self.granter, each)))

        for row in self.granted:
            for time_us in self.times:
                if row.counts(time_us):
                    judge(row.member, self.given(row, time_us), time_us)
        last = max((time for time in self.times for row in self.granted if row.counts(time)), default=self.now_us)
        for subject in subjects:
            judge(subject, self.left.gained(self.before, subject), self.times[-1])
            if self.after.admitted(subject) and not self.before.admitted(subject):
                judge(subject, self.after.holds(subject), last)
        return found


def opens(files: Files, row: RuntimeRow, now_us: int) -> bool:
    """Whether the files open a row, out of the text of the manifest."""
    text = files["acme/tenant.yaml"].decode().partition("\n")[0]

    def listed(key: str) -> list[str]:
        _, found, rest = text.partition(f"{key}: [")
        return [each.strip(" '") for each in rest.partition("]")[0].split(",")] if found else []

    if row.expires_us is not None and row.expires_us <= now_us:
        return False
    if row.holds == SUSPENDED and "suspend" in text:
        return True
    names = listed("roles" if row.holds.startswith("role:") else "groups")
    within = all(
        any(covers(scope, name) for scope in listed("scopes"))
        for name in ["", *SPACE, *(f"{name}.z" for name in SPACE)]
        if covers(row.scope.text, name)
    )
    lives = "max_ttl" not in text or (row.expires_us is not None and row.expires_us - now_us <= TTL_S * 1_000_000)
    return (
        lives
        and within
        and any(row.holds == each or (each[-1] == "*" and row.holds.startswith(each[:-1])) for each in names)
    )


@dataclass
class Walk:
    """One world and the rows in force in it."""

    random: Random
    tally: Tally
    files: Files = field(init=False)
    rows: dict[RuntimeRow, int] = field(default_factory=dict)
    """By row, the change that granted it."""
    now_us: int = 1_000 * MINUTE_US
    grounds: dict[RuntimeRow, Callable[[int, tuple[str, str, str]], bool]] = field(default_factory=dict)
    """By row, whether its granter held a permission when it was granted, at each later time."""
    change: str = ""

    def __post_init__(self) -> None:
        self._load(files_of(self.random))

    def _load(self, files: Files) -> None:
        loaded = load(files, "acme")
        if loaded.snapshot is None:
            raise DifferenceFoundError("\n".join(map(str, loaded.diagnostics)))
        self.files, self.policy = files, loaded.snapshot.policy
        self.before, self.naive = self._state(self.rows)

    def _state(self, rows: Mapping[RuntimeRow, int]) -> tuple[Snapshot, Naive]:
        links = (row.link(self.policy.tenant, seq) for row, seq in rows.items())
        return Snapshot(replace(self.policy, links=(*self.policy.links, *links))), Naive(self.files, rows)

    def __repr__(self) -> str:
        files = "\n".join(f"--- {path}\n{content.decode()}" for path, content in self.files.items())
        return f"{files}\n--- in force\n" + "\n".join(map(str, self.rows)) + f"\n--- change\n{self.change}"

    def steps(self, count: int) -> None:
        for seq in range(1, count + 1):
            self.now_us += self.random.randint(0, 3) * MINUTE_US
            self._expire()
            self._edit()
            self._step(seq)
            self._require_grounds()

    def _edit(self) -> None:
        """Sometimes somebody takes a row of a user out of the files, or changes the access list."""
        if self.random.randrange(6):
            return
        bindings = self.files["acme/bindings.csv"].decode().splitlines(keepends=True)
        manifest = self.files["acme/tenant.yaml"].decode()
        own = [line for line in bindings if line.startswith(("g, user:", "g, service:"))]
        if own and self.random.randrange(2):
            bindings.remove(pick(self.random, own))
        else:
            manifest = manifest.partition("access:")[0]
            if self.random.randrange(2):
                manifest += f"access: [{', '.join(some(self.random, (*USERS, *GROUPS, *NEWCOMERS), 3))}]\n"
        self._load(
            {**self.files, "acme/bindings.csv": "".join(bindings).encode(), "acme/tenant.yaml": manifest.encode()}
        )
        self.tally.edited += 1

    def _require_grounds(self) -> None:
        """Whoever may do something has it by rows of the files alone, or by a row whose granter held it when it was granted,
        for this long."""
        for principal in (*USERS, *NEWCOMERS[:1]):
            for kind, action, namespace in self.naive.holds(principal):
                if not self._is_grounded(principal, (kind, action, namespace)):
                    self._expect("nothing", (principal, kind, action, namespace), "what nobody held who granted it")

    def _is_grounded(self, principal: str, permission: tuple[str, str, str]) -> bool:
        kind, action, namespace = permission
        allowing = {
            row[1]
            for row in self.naive.reference.p
            if row[6] == "allow" and covers(row[3], namespace) and one_of(kind, row[4]) and one_of(action, row[5])
        }
        steps = [(each.member, each.holds, each.scope.text, "") for each in self.policy.links]
        for row in self.rows:
            good = self.grounds[row](self.now_us, permission)
            steps.append((row.member, row.holds, row.scope.text, "good" if good else "bad"))
        # What a chain has: no row of run time, rows of which one is good, or bad ones alone.
        reached = {(principal, "")}
        while (
            more := {
                (holds, "good" if "good" in {chain, step} else chain or step)
                for subject, chain in reached
                for member, holds, scope, step in steps
                if member == subject and covers(scope, namespace)
            }
            - reached
        ):
            reached |= more
        return any((subject, chain) in reached for subject in allowing for chain in ("", "good"))

    def _expire(self) -> None:
        left = {row: seq for row, seq in self.rows.items() if row.counts(self.now_us)}
        if left != self.rows:
            before, (self.before, self.naive) = self.naive, self._state(left)
            self.rows = left
            self.tally.expired += 1
            for subject in self._subjects():
                self._expect(frozenset(), self.naive.gained(before, subject), f"{subject} gains by an expiry")

    def _step(self, seq: int) -> None:
        random = self.random
        granter = pick(random, (*USERS, *USERS, "user:stranger"))
        granted = [self._row() for _ in range(random.randint(0, 2))]
        if self.rows and random.randrange(2):
            # A row again with another end, or what somebody was given passed on.
            row = pick(random, [row for row in self.rows if row.expires_us is not None] or [*self.rows])
            if random.randrange(3):
                granter = row.member if row.member in USERS else granter
                row = replace(row, member=self._row().member)
            granted.append(replace(row, expires_us=self._end()))
        granted = [row for row in {self._key(row): row for row in granted}.values() if row not in self.rows]
        again = {self._key(row) for row in granted}
        renewed = [row for row in self.rows if self._key(row) in again]
        others = [row for row in self.rows if row not in renewed]
        revoked = random.sample(others, min(len(others), random.randint(0 if granted else 1, 2)))
        if not granted and not revoked:
            return
        self.change = f"{granter} grants {granted} and revokes {revoked} at {self.now_us}"
        gone = [*revoked, *renewed]
        rows = {row: at for row, at in self.rows.items() if row not in gone} | dict.fromkeys(granted, seq)
        ceiling = Ceiling(self.policy)
        opened = [not ceiling.refusal(row, self.now_us) for row in granted]
        self._expect([opens(self.files, row, self.now_us) for row in granted], opened, "the ceiling")
        if not all(opened):
            self.tally.outside += 1
            return
        after, naive = self._state(rows)
        wrong = unsound(self.before, after, granted, rows, 10_000)
        self._expect(naive.sound(rows), not wrong, f"the soundness of all rows, {wrong}")
        if wrong:
            self.tally.unsound += 1
            return
        self._ask(granter, granted, revoked)
        tenant = self.policy.tenant
        added = [row.link(tenant, seq) for row in granted]
        removed = [row.link(tenant, self.rows[row]) for row in gone]
        found = escalations(self.before, after, added, removed, Principal(granter), now_us=self.now_us)
        told = {
            (subject, *permission, name)
            for each in found
            for subject in each.subjects
            for permission in each.permissions
            for name in naive.namespaces
            if each.where.contains(Namespace(name))
        }
        judge = Judge(self.files, [*self.rows], granted, gone, granter, self.now_us)
        excess = judge.excess(self._subjects())
        self._expect(excess, told, "who gains what beyond the granter")
        if found:
            self.tally.escalating += 1
            return
        self.tally.accepted += 1
        self.tally.freely += bool(judge.excess(self._subjects(), free=False))
        self.tally.renewed += len(renewed)
        self.rows, self.before, self.naive = rows, after, naive
        for row in granted:
            self.grounds[row] = lambda time_us, permission: (
                permission in judge.mine(time_us) or judge.before.free(granter, permission)
            )

    def _ask(self, granter: str, granted: Sequence[RuntimeRow], revoked: Sequence[RuntimeRow]) -> None:
        """Whether the granter may grant and revoke at all."""
        for row, action in [*((row, "CREATE") for row in granted), *((row, "DELETE") for row in revoked)]:
            question = binding_question(self.before, Principal(granter), Word(action), row.scope)
            may = self.before.decide(question).allowed
            self._expect(self.naive.may(granter, action, row.scope.text), may, f"{question}")
            self.tally.unasked += not may

    def _row(self) -> RuntimeRow:
        random = self.random
        member = pick(random, (*USERS, *GROUPS, *NEWCOMERS))
        holds = pick(
            random, (*GROUPS, *ROLES, *ROLES, SUSPENDED, "role:managed", "group:new", "group:new", "role:none")
        )
        scope = pick(random, ("", "", *PATTERNS))
        return parse_runtime_row(member, holds, scope, self._end())

    def _end(self) -> int | None:
        return None if self.random.randrange(2) else self.now_us + self.random.randint(0, 15) * MINUTE_US

    def _key(self, row: RuntimeRow) -> tuple[str, str, str]:
        return row.member, row.holds, row.scope.text

    def _subjects(self) -> Iterator[str]:
        return iter((*USERS, *GROUPS, SUSPENDED, *NEWCOMERS, "user:stranger"))

    def _expect(self, expected: object, actual: object, what: str) -> None:
        if expected != actual:
            raise DifferenceFoundError(f"{self!r}\n{what}: the reference says {expected}, remit {actual}")


def run(changes: int, seed: int, *, progress: bool = True) -> Tally:
    """The changes judged alike; raises DifferenceFoundError, with the world, at the first that is not."""
    started = shown = time.monotonic()
    tally = Tally()
    worlds = 0
    while tally.changes < changes:
        # A world a seed, so that one that fails can be walked again alone.
        Walk(Random(f"{seed}/{worlds}"), tally).steps(min(CHANGES, changes - tally.changes))
        worlds += 1
        if progress and time.monotonic() - shown > 1:
            shown = time.monotonic()
            rate = tally.changes / (shown - started)
            print(f"\r{tally.changes:,} of {changes:,} in {worlds:,} worlds, {rate:,.0f}/s ", end="", file=sys.stderr)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started = time.monotonic()
    try:
        tally = run(options.changes, options.seed)
    except DifferenceFoundError as error:
        print(f"\nseed {options.seed}\n{error}", file=sys.stderr)
        return 1
    print(file=sys.stderr)
    print(f"{tally.changes:,} judged alike ({time.monotonic() - started:.0f} s, seed {options.seed}): {tally}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
