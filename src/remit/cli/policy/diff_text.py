"""Describes a diff in sentences, for a terminal and for a pull request."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from remit.core.names import Word
from remit.core.policy import DedicatedResource
from remit.core.vocabulary import Vocabulary
from remit.engine.decision_diagram import Piece
from remit.engine.diff import (
    AccessChange,
    ChangedNamespaces,
    DedicatedChange,
    Direction,
    Pairs,
    ReachChange,
    RuntimeChange,
    TenantDiff,
)

Marked = Callable[[str], str]
"""Marks a name, so that it stands out from the words around it."""
Permissions = Mapping[Word, frozenset[Word]]
"""Every action of the vocabulary, by kind."""

NAMED: Final = 3
"""The most principals that a sentence names. A sentence about more principals gives their number."""
SHOWN: Final = 20
"""The most principals that are listed below a sentence."""

_OWNED: Final = {
    Pairs.OTHERS: "what {} owns",
    Pairs.ABOVE: "what {} owns, where that is an ancestor",
    Pairs.NOT_ABOVE: "what {} owns, ancestors apart",
    Pairs.ITSELF: "what it owns itself",
}
_GRANTED: Final = frozenset({"rights", "denies", "access", "people"})
"""What a grant gives, and not whether it may be granted."""
_NOTHING: Final = "none"
_BACKTICKS: Final = re.compile("`+").findall


def plain(text: str) -> str:
    return text


def code(text: str) -> str:
    """Makes a Markdown code span of any text. The fence has more backticks than any run of them in the text."""
    longest = max((len(run) for run in _BACKTICKS(text)), default=0)
    fence = "`" * (longest + 1)
    padding = " " if longest else ""
    return f"{fence}{padding}{text}{padding}{fence}"


def actions_of(vocabulary: Vocabulary | None) -> Permissions:
    return {kind.name: kind.actions for kind in vocabulary.kinds.values()} if vocabulary is not None else {}


def summary(found: TenantDiff) -> str:
    """For example `3 rows added, 1 removed: 12 people and 1 service gain, user:otto loses`."""
    rows = f"{_count(found.rows_added, 'row')} added, {found.rows_removed} removed"
    phrases = [
        f"{_counted(principals)} {_verb(direction, len(principals))}"
        for direction in Direction
        if (
            principals := {
                name for change in found.access if change.direction is direction for name in change.principals
            }
        )
    ]
    phrases += [
        f"reach {'opens' if direction is Direction.GAIN else 'closes'}"
        for direction in Direction
        if any(change.direction is direction for change in found.reach)
    ]
    phrases += [
        f"{'more' if direction is Direction.GAIN else 'less'} may be granted at run time"
        for direction in Direction
        if any(change.direction is direction and change.key not in _GRANTED for change in found.runtime)
    ]
    phrases += [
        f"grants at run time give {'more' if direction is Direction.GAIN else 'less'}"
        for direction in Direction
        if any(change.direction is direction and change.key in _GRANTED for change in found.runtime)
    ]
    phrases += ["dedicated resources change"] if found.dedicated else []
    return f"{rows}: {', '.join(phrases) or 'no decision changes'}"


def access_sentence(change: AccessChange, actions: Permissions, mark: Marked = plain) -> str:
    """For example `12 people through group:finance-devs gain EXECUTE FLOW in acme.finance.**`."""
    principals = change.principals
    who = _joined(map(mark, principals)) if len(principals) <= NAMED else _counted(principals)
    if change.through is not None:
        of = f" of {change.holders}" if NAMED < len(principals) < change.holders else ""
        who += f"{of} through {mark(change.through)}"
    what = "; ".join(map(mark, _permissions(change.permissions, actions)))
    return f"{who} {_verb(change.direction, len(principals))} {what} in {_where(change.where, mark)}"


def reach_sentence(change: ReachChange, mark: Marked = plain) -> str:
    """For example `work in acme.data.** may now use by SUBFLOW what acme.finance.** owns`."""
    now = "may now" if change.direction is Direction.GAIN else "may no longer"
    owned = _OWNED[change.pairs].format(_pieces(change.owners, mark))
    return f"work in {_pieces(change.callers, mark)} {now} use by {mark('|'.join(change.relations))} {owned}"


def dedicated_sentence(change: DedicatedChange, mark: Marked = plain) -> str:
    """For example `storage of acme.finance.**: acme-default before, finance-s3 now`."""
    where = _where(change.where, mark)
    before, after = (_NOTHING if each is None else mark(each.name) for each in (change.before, change.after))
    if change.before is not None and change.after is not None and change.before.name == change.after.name:
        return f"{change.resource} of {where}: {after} with other settings"
    return f"{change.resource} of {where}: {before} before, {after} now"


def runtime_sentence(change: RuntimeChange, actions: Permissions, mark: Marked = plain) -> str:
    """For example `role:editor may now be granted at run time`."""
    gain = change.direction is Direction.GAIN
    now = "may now" if gain else "may no longer"
    if change.key in _GRANTED:
        what = f"{'; '.join(map(mark, _permissions(change.permissions, actions)))} in {_where(change.where, mark)}"
        if change.key == "people":
            who = _joined(map(mark, change.values)) if len(change.values) <= NAMED else _counted(change.values)
            return f"{who} {now} be given {what} at run time"
        whoever = f"whoever is granted {_either(change.values, mark)} at run time"
        match change.key:
            case "rights":
                return f"{whoever} {'gains' if gain else 'loses'} {what}"
            case "denies":
                return f"{whoever} is {'no longer' if gain else 'now'} denied {what}"
        return f"{whoever} {'now' if gain else 'no longer'} passes the access list"
    values = _joined(map(mark, change.values))
    match change.key:
        case "scopes":
            return f"rows of run time {now} have scopes within {values}"
        case "suspend":
            return f"anybody {now} be put into {values} at run time"
        case "max_ttl" if change.values == ("",):
            return "rows of run time may now have no end"
        case "max_ttl":
            longer = "may now last up to" if change.direction is Direction.GAIN else "must now end within"
            return f"rows of run time {longer} {values}"
    return f"{values} {now} be granted at run time"


def listed(principals: Sequence[str], mark: Marked = plain) -> str:
    """Lists the names if the sentence gave only their number. Otherwise empty."""
    if len(principals) <= NAMED:
        return ""
    more = f" and {len(principals) - SHOWN} more" if len(principals) > SHOWN else ""
    return ", ".join(map(mark, principals[:SHOWN])) + more


def as_json(found: TenantDiff) -> dict[str, object]:
    return {
        "tenant": found.tenant,
        "rows_added": found.rows_added,
        "rows_removed": found.rows_removed,
        "access": [
            {
                "direction": change.direction,
                "principals": list(change.principals),
                "through": change.through,
                "permissions": list(map(_permission_json, change.permissions)),
                **_where_json(change.where),
            }
            for change in found.access
        ],
        "reach": [
            {
                "direction": reached.direction,
                "relations": list(reached.relations),
                "callers": list(map(_piece_json, reached.callers)),
                "owners": list(map(_piece_json, reached.owners)),
                "pairs": reached.pairs,
            }
            for reached in found.reach
        ],
        "dedicated": [
            {
                "resource": served.resource,
                "before": _name(served.before),
                "after": _name(served.after),
                **_where_json(served.where),
            }
            for served in found.dedicated
        ],
        "runtime": [
            {
                "direction": opened.direction,
                "key": opened.key,
                "values": list(opened.values),
                "permissions": list(map(_permission_json, opened.permissions)),
                **_where_json(opened.where),
            }
            for opened in found.runtime
        ],
    }


def _permission_json(permission: tuple[Word, Word]) -> dict[str, object]:
    kind, action = permission
    return {"kind": kind, "action": action}


def _where_json(where: ChangedNamespaces) -> dict[str, object]:
    return {"namespaces": list(map(_piece_json, where.namespaces)), "tenant_itself": where.tenant_itself}


def _piece_json(piece: Piece) -> dict[str, object]:
    return {"only": [piece.only.text], "excluded": [pattern.text for pattern in piece.excepted]}


def _name(resource: DedicatedResource | None) -> str | None:
    return None if resource is None else resource.name


def _permissions(permissions: Iterable[tuple[Word, Word]], actions: Permissions) -> Iterator[str]:
    """`VIEW|LIST FLOW|EXECUTION` for kinds with the same actions; `*` for all actions of a kind."""
    by_kind: defaultdict[Word, list[Word]] = defaultdict(list)
    for kind, action in permissions:
        by_kind[kind].append(action)
    kinds: defaultdict[str, list[Word]] = defaultdict(list)
    for kind, named in by_kind.items():
        kinds["*" if len(named) > 1 and actions.get(kind) == frozenset(named) else "|".join(named)].append(kind)
    return (f"{named} {'|'.join(of)}" for named, of in kinds.items())


def _where(where: ChangedNamespaces, mark: Marked) -> str:
    itself = ["the tenant itself"] if where.tenant_itself else []
    return " and ".join([*itself, *([_pieces(where.namespaces, mark)] if where.namespaces else [])])


def _pieces(pieces: Sequence[Piece], mark: Marked) -> str:
    phrases = [
        mark(piece.only.text)
        + (f" except {_joined(mark(each.text) for each in piece.excepted)}" if piece.excepted else "")
        for piece in pieces
    ]
    # After a comma, the next piece would read as one more exception.
    return "; ".join(phrases) if any(piece.excepted for piece in pieces) else _joined(phrases)


def _either(names: Sequence[str], mark: Marked) -> str:
    if len(names) > SHOWN:
        return f"{', '.join(map(mark, names[:SHOWN]))} or one of {len(names) - SHOWN} more"
    *most, last = map(mark, names)
    return f"{', '.join(most)} or {last}" if most else last


def _joined(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _counted(principals: Iterable[str]) -> str:
    names = list(principals)
    services = sum(1 for name in names if name.startswith("service:"))
    phrases = []
    if len(names) > services:
        phrases.append(_count(len(names) - services, "person", "people"))
    if services:
        phrases.append(_count(services, "service"))
    return " and ".join(phrases)


def _count(number: int, one: str, more: str = "") -> str:
    return f"{number} {one if number == 1 else more or f'{one}s'}"


def _verb(direction: Direction, count: int) -> str:
    verb = "gain" if direction is Direction.GAIN else "lose"
    return f"{verb}s" if count == 1 else verb
