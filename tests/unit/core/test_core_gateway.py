"""Paths of requests, templates of routes, and which route wins."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remit.core.errors import InvalidNameError
from remit.core.gateway import (
    ANY_METHOD,
    PATH_LIMIT,
    TEMPLATE_SEGMENTS,
    HttpRequest,
    PathTemplate,
    RefusedPathError,
    Route,
    RouteTable,
    SameRequestsError,
    is_capture,
    route_of,
    split_path,
)
from remit.core.names import Namespace, Principal, Word
from remit.core.question import Question

METHODS = ("GET", "POST", ANY_METHOD)


def route(text: str, namespace: str = "", resource_id: str = "") -> Route:
    methods, path = text.split(" ")
    template = PathTemplate.parse(path)
    return Route(tuple(methods.split("|")), template, Word("FLOW"), Word("VIEW"), namespace, resource_id)


@pytest.mark.parametrize(
    ("path", "segments"),
    {
        b"/": ("",),
        b"/a/b": ("a", "b"),
        b"/a/": ("a", ""),
        b"/a?b=/../c//%2f": ("a",),
        b"/a??": ("a",),
        b"/%61%2D": ("a-",),
        b"/100%25": ("100%",),
        b"/100%25-off": ("100%-off",),
        b"/%c3%a9": ("é",),
        b"/a%20b": ("a b",),
        b"/...": ("...",),
        b"/;": (";",),
    }.items(),
)
def test_segments_are_decoded_once_and_the_query_is_left_out(path: bytes, segments: tuple[str, ...]) -> None:
    assert segments == split_path(path)


@pytest.mark.parametrize(
    ("path", "why"),
    {
        b"": "begin with `/`",
        b"*": "begin with `/`",
        b"a/b": "begin with `/`",
        b"?/a": "begin with `/`",
        b"http://a/b": "begin with `/`",
        b"//": "`//`",
        b"//a": "`//`",
        b"/a//b": "`//`",
        b"/.": "dots",
        b"/a/../b": "dots",
        b"/admin%20/users": "blank at its start or end",
        b"/%20admin/users": "blank at its start or end",
        b"/admin/users%20": "blank at its start or end",
        b"/%20": "blank at its start or end",
        b"/%2e%2E": "dots",
        b"/.%2e/a": "dots",
        b"/%252e%252e/a": "twice",
        b"/a%252fb": "twice",
        b"/%25252e": "twice",
        b"/%25%32e": "twice",
        b"/a%2fb": "`%2f`",
        b"/a%2Fb": "`%2f`",
        b"/a%5cb": "`%5c`",
        b"/a%00": "`%00`",
        b"/a%0d%0a": "`%0d`",
        b"/a%7f": "`%7f`",
        b"/a%": "hexadecimal",
        b"/a%2": "hexadecimal",
        b"/a%g1": "hexadecimal",
        b"/a%u0041": "hexadecimal",
        b"/%ff": "UTF-8",
        b"/%c0%af": "UTF-8",
        b"/%e2%80%ae": "printed",
        b"/a b": "not allowed",
        b"/a\\b": "not allowed",
        b"/a#b": "not allowed",
        b"/a\x00": "not allowed",
        b"/\xc3\xa9": "not allowed",
        b"/" + b"a" * PATH_LIMIT: "longer",
    }.items(),
)
def test_paths_that_may_be_read_in_two_ways_are_refused(path: bytes, why: str) -> None:
    with pytest.raises(RefusedPathError, match=why):
        split_path(path)


@given(st.binary(max_size=40).map(lambda rest: b"/" + rest))
def test_no_path_gives_a_segment_that_leads_elsewhere(path: bytes) -> None:
    try:
        segments = split_path(path)
    except RefusedPathError:
        return
    assert "" not in segments[:-1]
    for each in segments:
        assert each not in {".", ".."}
        assert "/" not in each
        assert "\\" not in each
        assert each.isprintable()
        assert each == each.strip()


@pytest.mark.parametrize(
    "text",
    [
        *("", "a", "*", "/a//b", "//", "/*", "/**/a", "/a**", "/{id}x", "/{}", "/{Id}", "/{a}/{a}", "/a/../b", "/."),
        *("/a b", "/a%20b", "/é", "/a?b", "/a#b", "/a\\b", "/a" * (TEMPLATE_SEGMENTS + 1), "/" + "a" * 512),
    ],
)
def test_what_is_no_template_is_refused(text: str) -> None:
    with pytest.raises(InvalidNameError):
        PathTemplate.parse(text)


@pytest.mark.parametrize(
    ("template", "matching", "others"),
    [
        ("/", ["/"], ["/a"]),
        ("/a", ["/a", "/%61"], ["/a/", "/A", "/", "/a/b"]),
        ("/a/", ["/a/"], ["/a"]),
        ("/a/{id}", ["/a/b", "/a/b%20c", "/a/{id}"], ["/a/", "/a", "/a/b/", "/a/b/c"]),
        ("/a/**", ["/a", "/a/", "/a/b", "/a/b/c/"], ["/", "/ab", "/b/a"]),
        ("/**", ["/", "/a", "/a/b/"], []),
        ("/{x}/{y}/z", ["/a/b/z"], ["/a/z", "/a/b/c", "/a/b/z/"]),
    ],
)
def test_a_template_matches_whole_paths(template: str, matching: list[str], others: list[str]) -> None:
    table = RouteTable([route(f"GET {template}")])

    assert [path for path in matching if table.find("GET", split_path(path.encode())) is None] == []
    assert [path for path in others if table.find("GET", split_path(path.encode())) is not None] == []


def test_only_a_template_with_a_semicolon_takes_one() -> None:
    table = RouteTable([route("GET /a/{id}"), route("GET /b/**"), route("GET /c;v=1/{id}")])

    assert table.find("GET", split_path(b"/c;v=1/x")) is not None
    for path in (b"/a/b;x=1", b"/a;/b", b"/b/c;x/d", b"/b/%3b", b"/c;v=2/x", b"/c;v=1/x;y"):
        with pytest.raises(RefusedPathError, match="`;`"):
            route_of(table, HttpRequest("GET", path))


def test_the_question_is_filled_from_the_path() -> None:
    flows = route("GET /{kind}/{ns}/{id}", "{ns}", "{id}")

    assert (Question(Principal("user:bob"), Word("VIEW"), Word("FLOW"), Namespace("acme.data")), "x y") == (
        flows.question("user:bob", split_path(b"/flows/acme.data/x%20y"))
    )


@pytest.mark.parametrize(
    ("winner", "loser", "request_"),
    [
        ("GET /a/b", "GET /a/{x}", "GET /a/b"),
        ("GET /a/{x}", "GET /{x}/b", "GET /a/b"),
        ("GET /a/{x}/c", "GET /{x}/b/c", "GET /a/b/c"),
        ("GET /a/{x}", "GET /a/**", "GET /a/b"),
        ("GET /a", "GET /a/**", "GET /a"),
        ("GET /a/b/**", "GET /a/{x}/c", "GET /a/b/c"),
        ("GET /a/{x}/**", "GET /a/**", "GET /a/b/c"),
        ("GET /a", "* /a", "GET /a"),
        ("* /a", "GET /{x}", "GET /a"),
        ("GET /{x}", "POST /a", "GET /a"),
        ("GET /{x}/b/c", "GET /a/b/d", "GET /a/b/c"),
    ],
)
def test_the_more_specific_route_wins(winner: str, loser: str, request_: str) -> None:
    routes = [route(winner), route(loser)]
    method, path = request_.split(" ")

    for order in (routes, routes[::-1]):
        assert routes[0] == RouteTable(order).find(method, split_path(path.encode()))


@pytest.mark.parametrize(
    ("one", "other"), [("GET /a", "GET /a"), ("GET|POST /{x}", "POST /{y}"), ("* /a/**", "* /a/**")]
)
def test_routes_that_match_the_same_requests_are_refused(one: str, other: str) -> None:
    with pytest.raises(SameRequestsError, match="match the same requests"):
        RouteTable([route(one), route(other)])


SEGMENTS = st.sampled_from(["a", "b", "{x}"])
TEMPLATES = st.tuples(st.lists(SEGMENTS, min_size=1, max_size=4), st.booleans()).map(
    lambda drawn: (
        "/"
        + "/".join([*(f"{{x{n}}}" if each == "{x}" else each for n, each in enumerate(drawn[0])), *["**"] * drawn[1]])
    )
)
ROUTES = st.lists(st.tuples(st.sampled_from(METHODS), TEMPLATES), unique_by=lambda each: (each[0], shape(each[1])))
ASKED = st.tuples(st.sampled_from(["GET", "POST"]), st.lists(st.sampled_from("abc"), min_size=1, max_size=5))


def shape(template: str) -> tuple[str, ...]:
    return PathTemplate.parse(template).shape


def naive(routes: Sequence[Route], method: str, path: Sequence[str]) -> Route | None:
    """The first matching route in the order of the policy language's section 4: no tree, no index."""

    def rank(segment: str) -> int:
        return 1 if is_capture(segment) else 0

    def matches(each: Route) -> bool:
        segments = each.path.segments
        long_enough = len(path) >= len(segments) if each.path.tail else len(path) == len(segments)
        return long_enough and all(is_capture(one) or one == other for one, other in zip(segments, path, strict=False))

    found = [each for each in routes if matches(each) and each.methods[0] in {method, ANY_METHOD}]
    ranked = [
        ([*map(rank, each.path.segments), *[2] * each.path.tail], each.methods == (ANY_METHOD,), number)
        for number, each in enumerate(found)
    ]
    return found[min(ranked)[2]] if found else None


@given(ROUTES.flatmap(lambda routes: st.tuples(st.just(routes), st.permutations(routes))), ASKED)
def test_the_winner_does_not_depend_on_the_order_of_routes(
    drawn: tuple[list[tuple[str, str]], list[tuple[str, str]]], asked: tuple[str, list[str]]
) -> None:
    first, second = ([route(f"{method} {path}") for method, path in routes] for routes in drawn)
    method, path = asked
    winner = RouteTable(first).find(method, path)

    assert winner == RouteTable(second).find(method, path)
    assert winner == naive(first, method, path)
