"""Dependency graphs: as a caller sends one, and as a principal sees it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from remit.core.decision import Decision
from remit.core.errors import FieldViolation, InvalidNameError, MalformedQuestionError
from remit.core.names import Namespace, Word, parse_namespace, parse_word, quote

STUB: Final = "?"
"""The first character of a stub's uid; no other uid begins with it."""
TEXT_LIMIT: Final = 512
"""Characters of a uid, and of an id."""
VIOLATIONS_LIMIT: Final = 20
"""Errors reported for one graph; a graph with more has the same error everywhere."""


class GraphNode(NamedTuple):
    """A thing of a tenant. A stub has only a uid."""

    uid: str
    kind: Word = Word("")
    namespace: Namespace = Namespace("")
    """Empty for a thing that lives in the tenant itself."""
    id: str = ""


# Plain tuples: edges come by the ten thousand, and a named tuple takes four times as long to make.
Edge = tuple[int, int, Word]
"""The positions of two nodes, of which the first uses the second, and the relation."""
VisibleEdge = tuple[str, str, Word, Decision | None]
"""The uids of two nodes, the relation, and the decision of reach: None if an end is hidden or lives in no namespace."""


@dataclass(frozen=True, slots=True)
class DependencyGraph:
    nodes: tuple[GraphNode, ...]
    edges: tuple[Edge, ...]


@dataclass(frozen=True, slots=True)
class VisibleGraph:
    """The part of a graph that a principal may see. It contains no text of a hidden node."""

    nodes: tuple[GraphNode, ...]
    edges: tuple[VisibleEdge, ...]


def parse_graph(nodes: Iterable[tuple[str, str, str, str]], edges: Iterable[tuple[str, str, str]]) -> DependencyGraph:
    """A graph from the (uid, kind, namespace, id) of its nodes and the (source, target, relation) of its edges.

    Raises MalformedQuestionError with the first VIOLATIONS_LIMIT errors.
    """
    violations: list[FieldViolation] = []
    positions: dict[str, int] = {}
    parsed: list[GraphNode] = []
    sound: set[tuple[str, str]] = set()
    for position, (uid, kind, namespace, thing) in enumerate(nodes):
        # Check each kind and namespace once: many nodes share them.
        if (kind, namespace) not in sound:
            found = [*_named(f"nodes[{position}].kind", "kind", kind), *_where(position, namespace)]
            violations += found
            if not found:
                sound.add((kind, namespace))
        if not 0 < len(uid) <= TEXT_LIMIT or uid[0] == STUB or not uid.isprintable():
            violations.append(FieldViolation(f"nodes[{position}].uid", _expected(uid)))
        elif uid in positions:
            first = f"`{quote(uid)}` is that of nodes[{positions[uid]}] already"
            violations.append(FieldViolation(f"nodes[{position}].uid", f"{first}: each node needs its own uid"))
        if len(thing) > TEXT_LIMIT:
            expected = f"holds {len(thing)} characters: expected at most {TEXT_LIMIT}"
            violations.append(FieldViolation(f"nodes[{position}].id", expected))
        if len(violations) >= VIOLATIONS_LIMIT:
            break
        positions.setdefault(uid, position)
        parsed.append(GraphNode(uid, Word(kind), Namespace(namespace), thing))
    if violations:
        # Stop here: edges would name nodes that are wrong themselves.
        raise MalformedQuestionError(*violations[:VIOLATIONS_LIMIT])
    return DependencyGraph(tuple(parsed), _edges(edges, positions))


def _edges(edges: Iterable[tuple[str, str, str]], positions: dict[str, int]) -> tuple[Edge, ...]:
    violations: list[FieldViolation] = []
    parsed: list[Edge] = []
    sound: set[str] = set()
    for position, (source, target, relation) in enumerate(edges):
        if relation not in sound:
            found = list(_named(f"edges[{position}].relation", "relation", relation))
            violations += found
            if not found:
                sound.add(relation)
        start, end = positions.get(source), positions.get(target)
        if start is not None and end is not None:
            parsed.append((start, end, Word(relation)))
        else:
            violations += [
                FieldViolation(f"edges[{position}].{field}", f"no node has the uid `{quote(uid)}`")
                for field, uid, found_at in (("source", source, start), ("target", target, end))
                if found_at is None
            ]
        if len(violations) >= VIOLATIONS_LIMIT:
            break
    if violations:
        raise MalformedQuestionError(*violations[:VIOLATIONS_LIMIT])
    return tuple(parsed)


def _named(field: str, what: str, text: str) -> Iterable[FieldViolation]:
    try:
        parse_word(what, text)
    except InvalidNameError as error:
        yield FieldViolation(field, str(error))


def _where(position: int, namespace: str) -> Iterable[FieldViolation]:
    try:
        if namespace:
            parse_namespace(namespace)
    except InvalidNameError as error:
        yield FieldViolation(f"nodes[{position}].namespace", str(error))


def _expected(uid: str) -> str:
    expected = f"expected 1 to {TEXT_LIMIT} printable characters, the first not `{STUB}`, which marks hidden nodes"
    return f"`{quote(uid)}` is no uid: {expected}" if uid else f"is missing: {expected}"
