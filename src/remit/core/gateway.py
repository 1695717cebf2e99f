"""Routes of a gateway: from the method and path of an HTTP request to a question (policy-language section 4)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from remit.core.errors import InvalidNameError, RemitError, named
from remit.core.names import Word, parse_resource_id, quote
from remit.core.question import Question, parse_question

ANY_METHOD: Final = "*"
PATH_LIMIT: Final = 8192
"""Bytes of the path of a request, without its query."""
TEMPLATE_LIMIT: Final = 512
TEMPLATE_SEGMENTS: Final = 32
ROUTES_LIMIT: Final = 1_000
"""Routes of a tenant: a request may visit them all."""

_TAIL: Final = "**"
is_method: Final = re.compile(r"[A-Z][A-Z-]{0,31}").fullmatch
_CAPTURE = re.compile(r"\{[a-z][a-z0-9_]{0,63}\}").fullmatch
_LITERAL = re.compile(r"[A-Za-z0-9._~!$&'()+,;=:@-]+").fullmatch
# Printable ASCII without `#` and `\`: programs disagree about what these mean in a path.
_PLAIN = re.compile(rb"/[!\"$-\[\]-~]*").fullmatch
_ENCODED = re.compile(rb"%(?:[0-9A-Fa-f]{2})?")
_STILL_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}").search
# Encoded, these are `/`, `\`, and characters that end a text or a line in some programs.
_UNSAFE: Final = frozenset({0x2F, 0x5C, 0x7F, *range(0x20)})

METHOD_GRAMMAR: Final = "upper-case letters and `-`"
TEMPLATE_GRAMMAR: Final = (
    f"`/` and segments joined by `/`, each plain text or one `{{name}}`, and `**` at most as the last; at most "
    f"{TEMPLATE_LIMIT} characters and {TEMPLATE_SEGMENTS} segments"
)


class RefusedPathError(RemitError):
    """Two programs might read this path in two ways, so no decision about it is safe."""


def split_path(raw: bytes) -> tuple[str, ...]:
    """The segments of a request's path, each decoded once, without the query. A final `/` gives an empty last segment.

    Raises RefusedPathError.
    """
    path = raw.partition(b"?")[0]
    if len(path) > PATH_LIMIT:
        raise RefusedPathError(f"the path is longer than {PATH_LIMIT} bytes")
    if not _PLAIN(path):
        raise RefusedPathError("the path does not begin with `/`, or holds a character that is not allowed in a path")
    segments = path[1:].split(b"/")
    if b"" in segments[:-1]:
        raise RefusedPathError("the path holds `//`")
    return tuple(map(_decoded, segments))


def _decoded(segment: bytes) -> str:
    """Raises RefusedPathError."""
    for encoded in _ENCODED.findall(segment):
        if len(encoded) == 1:
            raise RefusedPathError("the path holds a `%` without two hexadecimal digits")
        if int(encoded[1:], 16) in _UNSAFE:
            raise RefusedPathError(f"the path holds `{encoded.decode().lower()}`")
    try:
        text = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise RefusedPathError("the path is not UTF-8") from None
    if _STILL_ENCODED(text):
        raise RefusedPathError("the path is encoded twice")
    if text in {".", ".."}:
        raise RefusedPathError("the path holds a segment of dots")
    if text != text.strip():
        raise RefusedPathError("the path holds a segment with a blank at its start or end")
    if not text.isprintable():
        raise RefusedPathError("the path holds a character that cannot be printed")
    return text


def is_capture(segment: str) -> bool:
    """True for the segment of a template that takes any one segment, as `{name}`."""
    return bool(_CAPTURE(segment))


@dataclass(frozen=True, slots=True)
class PathTemplate:
    """The paths of a route."""

    text: str
    segments: tuple[str, ...]
    """Plain texts and captures, without a final `**`."""
    tail: bool
    """True if the template ends in `**`: this path, and everything below."""

    @classmethod
    def parse(cls, text: str) -> "PathTemplate":
        """Raises InvalidNameError."""
        parts = text[1:].split("/")
        tail = parts[-1] == _TAIL
        segments = tuple(parts[:-1] if tail else parts)
        captures = [each for each in segments if is_capture(each)]
        # Only a last segment may be empty: that of a path which ends in `/`.
        plain = [each for each in (segments if tail or segments[-1] else segments[:-1]) if not is_capture(each)]
        if (
            not text.startswith("/")
            or len(text) > TEMPLATE_LIMIT
            or len(parts) > TEMPLATE_SEGMENTS
            or any(not _LITERAL(each) or each in {".", ".."} for each in plain)
        ):
            raise InvalidNameError(f"`{quote(text)}` is not a template of paths: expected {TEMPLATE_GRAMMAR}")
        if len(set(captures)) < len(captures):
            raise InvalidNameError(f"`{quote(text)}` captures one name twice")
        return cls(text, segments, tail)

    @property
    def captures(self) -> frozenset[str]:
        """The captures, with their braces."""
        return frozenset(each for each in self.segments if is_capture(each))

    @property
    def shape(self) -> tuple[str, ...]:
        """Equal for templates that match the same paths."""
        shape = tuple("{}" if is_capture(each) else each for each in self.segments)
        return (*shape, _TAIL) if self.tail else shape


@dataclass(frozen=True, slots=True)
class Route:
    """Requests, and the question that decides them."""

    methods: tuple[str, ...]
    """`(ANY_METHOD,)` for all."""
    path: PathTemplate
    kind: Word
    action: Word
    namespace: str = ""
    """A namespace, or a capture of `path`; '' for the tenant itself."""
    resource_id: str = ""
    """A text, or a capture of `path`."""
    file: str = ""
    line: int = 0
    column: int = 0

    @property
    def text(self) -> str:
        return f"{'|'.join(self.methods)} {self.path.text}"

    def question(self, principal: str, segments: Sequence[str]) -> tuple[Question, str]:
        """The question of a request with this path, and the id of its resource. Raises MalformedQuestionError."""
        namespace = self._filled(self.namespace, segments)
        question = parse_question(principal, self.action, self.kind, namespace)
        return question, named("resource_id", parse_resource_id, self._filled(self.resource_id, segments))

    def _filled(self, text: str, segments: Sequence[str]) -> str:
        return segments[self.path.segments.index(text)] if text.startswith("{") else text


@dataclass(slots=True)
class _RouteNode:
    """The routes whose templates begin alike."""

    literals: "dict[str, _RouteNode]" = field(default_factory=dict)
    capture: "_RouteNode | None" = None
    ending: dict[str, Route] = field(default_factory=dict)
    """The routes whose template ends here, by method."""
    below: dict[str, Route] = field(default_factory=dict)
    """The routes whose template ends in `**` here, by method."""


class SameRequestsError(RemitError):
    """Two routes match the same requests, and neither is more specific."""

    def __init__(self, route: Route, other: Route) -> None:
        super().__init__(f"`{route.text}` and `{other.text}` match the same requests")
        self.route = route
        self.other = other


class RouteTable:
    """The routes of a tenant. The most specific one that matches a request wins, whatever their order.

    Templates are compared from the left: at the first difference plain text comes before a capture, and both, and the
    end of the path, before `**`. Of equal paths, a named method comes before `*`.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        """Raises SameRequestsError."""
        self._top = _RouteNode()
        for route in routes:
            node = self._top
            for segment in route.path.segments:
                node = _below(node, segment)
            here = node.below if route.path.tail else node.ending
            for method in route.methods:
                other = here.setdefault(method, route)
                if other is not route:
                    raise SameRequestsError(route, other)

    def find(self, method: str, segments: Sequence[str]) -> Route | None:
        # Programs disagree about what follows a `;`: only a template that has it takes it.
        plain = next((at + 1 for at in reversed(range(len(segments))) if ";" in segments[at]), 0)
        return _found(self._top, method, segments, 0, plain)


def _below(node: _RouteNode, segment: str) -> _RouteNode:
    if not is_capture(segment):
        return node.literals.setdefault(segment, _RouteNode())
    if node.capture is None:
        node.capture = _RouteNode()
    return node.capture


def _found(node: _RouteNode, method: str, segments: Sequence[str], position: int, plain: int) -> Route | None:
    """The route of the segments from `position`. No segment from `plain` holds a `;`."""
    route: Route | None = None
    if position == len(segments):
        route = _of_method(node.ending, method)
    else:
        segment = segments[position]
        within = node.literals.get(segment)
        if within is not None:
            route = _found(within, method, segments, position + 1, plain)
        if route is None and node.capture is not None and segment and ";" not in segment:
            route = _found(node.capture, method, segments, position + 1, plain)
    if route is None and node.below and position >= plain:
        route = _of_method(node.below, method)
    return route


def _of_method(routes: Mapping[str, Route], method: str) -> Route | None:
    return routes.get(method) or routes.get(ANY_METHOD)


NO_ROUTES: Final = RouteTable(())


class HttpRequest(NamedTuple):
    """What a gateway tells about a request, as far as a route depends on it."""

    method: str
    path: bytes
    """With its query, not decoded."""


def route_of(table: RouteTable, request: HttpRequest) -> tuple[Route | None, tuple[str, ...]]:
    """The route of a request, None if none matches, and the segments of its path. Raises RefusedPathError."""
    segments = split_path(request.path)
    route = table.find(request.method, segments)
    if route is None and any(";" in each for each in segments):
        raise RefusedPathError("the path holds `;`, and no route has it")
    return route, segments
