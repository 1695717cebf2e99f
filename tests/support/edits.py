"""A world after somebody worked on it: rows gone, new, turned round or moved; another vocabulary; access lists; tenants
that came or went."""

from collections.abc import Callable, Sequence
from random import Random

from strategies import (
    KINDS,
    RELATIONS,
    VOCABULARY,
    World,
    link_row,
    pattern_text,
    pick,
    reach_rows,
    repr_yaml,
    rule_row,
    some,
    world,
)
from support.trees import load
from worldly import tenants

from remit.core.diagnostics import PolicyError

Files = dict[str, bytes]


def edited(random: Random, before: World) -> World:
    """`before` after one to five edits, each of which left files that load."""
    if random.randrange(8) == 0:
        return world(random)
    after = before
    for _ in range(random.randint(1, 5)):
        edit = EDITS[random.randrange(len(EDITS))]
        candidate = World(edit(random, after), before.segments, before.subjects)
        if loads(candidate):
            after = candidate
    return after


def loads(candidate: World) -> bool:
    try:
        return all(load(candidate.files, tenant).snapshot is not None for tenant in tenants(candidate))
    except PolicyError:
        return False


def row_gone(random: Random, before: World) -> Files:
    return _with_rows(random, before, lambda rows, place: [*rows[:place], *rows[place + 1 :]])


def row_turned_round(random: Random, before: World) -> Files:
    def turned(rows: Sequence[str], place: int) -> list[str]:
        head, _, effect = rows[place].rpartition(", ")
        other = {"allow": "deny", "deny": "allow"}.get(effect)
        return [*rows[:place], f"{head}, {other}" if other else rows[place], *rows[place + 1 :]]

    return _with_rows(random, before, turned)


def row_moved(random: Random, before: World) -> Files:
    def moved(rows: Sequence[str], place: int) -> list[str]:
        rest = [*rows[:place], *rows[place + 1 :]]
        rest.insert(random.randint(0, len(rest)), rows[place])
        return rest

    return _with_rows(random, before, moved)


def row_elsewhere(random: Random, before: World) -> Files:
    """A p row with other namespaces, a g row with another scope."""

    def shifted(rows: Sequence[str], place: int) -> list[str]:
        fields = rows[place].split(", ")
        pattern = pattern_text(random, before.segments)
        if fields[0] == "p":
            fields[3 if len(fields) == 7 else 2] = pattern
        else:
            tenant = fields[3].partition("/")[0]
            fields[3] = tenant if pattern == "**" else f"{tenant}/{pattern}"
        return [*rows[:place], ", ".join(fields), *rows[place + 1 :]]

    return _with_rows(random, before, shifted)


def new_rule(random: Random, before: World) -> Files:
    tenant = pick(random, tenants(before))
    row = rule_row(random, pick(random, (*before.subjects, "user:fresh")), tenant, before.segments)
    return before.with_rows(f"{tenant}/roles.csv", row).files


def new_link(random: Random, before: World) -> Files:
    tenant = pick(random, tenants(before))
    held = [each for each in (*before.subjects, "role:admin") if each.startswith(("group:", "role:"))]
    row = link_row(random, pick(random, (*before.subjects, "user:fresh")), pick(random, held), tenant, before.segments)
    return before.with_rows(f"{tenant}/bindings.csv", row).files


def new_reach_row(random: Random, before: World) -> Files:
    tenant = pick(random, tenants(before))
    file = f"{tenant}/reach.csv"
    rows = before.files.get(file, b"").decode().splitlines()
    more = reach_rows(random, tenant, before.segments)[:1]
    place = random.randint(0, len(rows))
    return {**before.files, file: "".join(f"{row}\n" for row in (*rows[:place], *more, *rows[place:])).encode()}


def another_vocabulary(random: Random, before: World) -> Files:
    """A kind of another class, an action more or less, a relation gone or inherited otherwise."""
    text = before.files["vocabulary.yaml"].decode()
    line = pick(
        random,
        [each for each in VOCABULARY.decode().splitlines() if each.split(":")[0].strip() in {*KINDS, *RELATIONS}],
    )
    name = line.split(":")[0].strip()
    if name in RELATIONS:
        other = pick(random, ("", f"  {name}: {{}}\n", f"  {name}: {{inherited: true}}\n"))
    else:
        side = pick(random, ("namespace", "tenant", "instance"))
        actions = [*some(random, (*KINDS[name][1], "VIEW"), 3), "EXTRA"][: random.randint(1, 4)]
        actions = list(dict.fromkeys(actions))
        other = pick(random, ("", f"  {name}: {{class: {side}, actions: [{', '.join(actions)}]}}\n"))
    rest = "".join(f"{each}\n" if not each.startswith(f"  {name}:") else other for each in text.splitlines())
    return {**before.files, "vocabulary.yaml": rest.encode()}


def another_access_list(random: Random, before: World) -> Files:
    tenant = pick(random, tenants(before))
    listed = [each for each in before.subjects if not each.startswith("role:")]
    text = f"access: [{', '.join(map(repr_yaml, some(random, (*listed, 'user:nobody'), 3)))}]\n"
    return {**before.files, f"{tenant}/tenant.yaml": pick(random, ("", text)).encode()}


def tenant_gone(random: Random, before: World) -> Files:
    """But for the last one."""
    here = tenants(before)
    gone = f"{pick(random, here)}/" if len(here) > 1 else " "
    return {path: content for path, content in before.files.items() if not path.startswith(gone)}


EDITS: tuple[Callable[[Random, World], Files], ...] = (
    *(row_gone, row_turned_round, row_elsewhere, new_rule, new_link) * 3,
    *(row_moved, new_reach_row) * 2,
    another_vocabulary,
    another_access_list,
    tenant_gone,
)


def _with_rows(random: Random, before: World, change: Callable[[Sequence[str], int], list[str]]) -> Files:
    """One row of one file changed."""
    files = [path for path, content in before.files.items() if path.endswith(".csv") and content]
    if not files:
        return before.files
    file = pick(random, files)
    rows = before.files[file].decode().splitlines()
    changed = change(rows, random.randrange(len(rows)))
    return {**before.files, file: "".join(f"{row}\n" for row in changed).encode()}
