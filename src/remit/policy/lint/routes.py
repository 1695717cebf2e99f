"""Rules about the routes of a gateway."""

from collections.abc import Iterator

from remit.core.gateway import ANY_METHOD, PathTemplate, Route, RouteTable, is_capture
from remit.core.names import Namespace
from remit.core.patterns import EVERYWHERE
from remit.core.rows import Effect
from remit.policy.lint.context import LintedTenant
from remit.policy.lint.finding import LintFinding, RuleId


def overlapping_routes(tenant: LintedTenant) -> Iterator[LintFinding]:
    """Finds routes that match some of the same requests, where each also matches others: one finding a route."""
    routes = sorted(tenant.policy.routes, key=lambda route: (route.line, route.column))
    for position, route in enumerate(routes):
        for other in routes[:position]:
            if _methods_overlap(route, other) and _cross(route.path, other.path):
                path = _common_path(route.path, other.path)
                method = next(each for each in (*route.methods, *other.methods, "GET") if each != ANY_METHOD)
                winner = RouteTable((route, other)).find(method, path)
                shown = f"/{'/'.join(path)}"
                message = (
                    f"`{route.text}` and `{other.text}` (line {other.line}) both match `{shown}`: "
                    f"`{winner.text if winner else ''}` decides there"
                )
                yield LintFinding(route.file, route.line, route.column, RuleId.OVERLAPPING_ROUTES, message)
                break


def catch_all_routes(tenant: LintedTenant) -> Iterator[LintFinding]:
    """Finds routes with `**` that decide a path which differs from a narrower route's in a final dot, by another
    question: one finding a route."""
    found: dict[Route, tuple[Route, str]] = {}
    table = RouteTable(tenant.policy.routes)
    for route in sorted(tenant.policy.routes, key=lambda route: (route.line, route.column)):
        method = route.methods[0] if route.methods[0] != ANY_METHOD else "GET"
        path = [each[1:-1] if is_capture(each) else each for each in route.path.segments]
        for position, segment in enumerate(route.path.segments):
            if segment and not is_capture(segment):
                respelled = [*path[:position], f"{segment}.", *path[position + 1 :]]
                winner = table.find(method, respelled)
                if winner is not None and winner.path.tail and _question(winner) != _question(route):
                    found.setdefault(winner, (route, "/".join(respelled)))
    for wide, (route, shown) in found.items():
        message = (
            f"`{wide.text}` decides other spellings of `{route.text}` (line {route.line}), such as `/{shown}`, and asks "
            f"for {_question(wide)} in place of {_question(route)}"
        )
        yield LintFinding(wide.file, wide.line, wide.column, RuleId.CATCH_ALL_ROUTE, message)


def _question(route: Route) -> str:
    where = f" in `{route.namespace}`" if route.namespace else ""
    return f"{route.action} on {route.kind}{where}"


def routes_nobody_may_use(tenant: LintedTenant) -> Iterator[LintFinding]:
    # What some principals hold is not known then.
    if tenant.holders.undecided:
        return
    for route in tenant.policy.routes:
        if not _somebody_may(tenant, route):
            where = f" in `{route.namespace}`" if route.namespace and not is_capture(route.namespace) else ""
            message = f"`{route.text}` asks for {route.action} on {route.kind}{where}, which no row allows to anybody"
            yield LintFinding(route.file, route.line, route.column, RuleId.ROUTE_NOBODY_MAY_USE, message)


def _somebody_may(tenant: LintedTenant, route: Route) -> bool:
    permission = (route.kind, route.action)
    for people in tenant.holders.people:
        for grant in people.of(Effect.ALLOW):
            within, without = tenant.permissions(grant.rule)
            if not route.namespace:
                if permission in without and grant.region == EVERYWHERE:
                    return True
            elif permission in within and (
                is_capture(route.namespace) or grant.region.contains(Namespace(route.namespace))
            ):
                return True
    return False


def _methods_overlap(one: Route, other: Route) -> bool:
    return (
        ANY_METHOD in one.methods or ANY_METHOD in other.methods or any(each in other.methods for each in one.methods)
    )


def _cross(one: PathTemplate, other: PathTemplate) -> bool:
    """True if the templates match a common path, and neither matches all paths of the other."""
    return _overlap(one, other) and not _covers(one, other) and not _covers(other, one)


def _takes(segment: str, other: str) -> bool:
    """True if a segment of a template matches what `other` matches, which may be a capture."""
    return segment == other or (is_capture(segment) and (is_capture(other) or (other != "" and ";" not in other)))


def _by_length(one: PathTemplate, other: PathTemplate) -> tuple[PathTemplate, PathTemplate]:
    return (one, other) if len(one.segments) <= len(other.segments) else (other, one)


def _overlap(one: PathTemplate, other: PathTemplate) -> bool:
    short, long = _by_length(one, other)
    rest = long.segments[len(short.segments) :]
    if rest and (not short.tail or any(";" in each for each in rest)):
        return False
    pairs = zip(short.segments, long.segments, strict=False)
    return all(_takes(mine, its) or _takes(its, mine) for mine, its in pairs)


def _covers(wide: PathTemplate, narrow: PathTemplate) -> bool:
    rest = len(narrow.segments) - len(wide.segments)
    if rest < 0 or ((rest or narrow.tail) and not wide.tail):
        return False
    return all(_takes(mine, its) for mine, its in zip(wide.segments, narrow.segments, strict=False))


def _common_path(one: PathTemplate, other: PathTemplate) -> tuple[str, ...]:
    """The shortest path that both match: a capture takes its own name."""
    short, long = _by_length(one, other)
    shared = [its if is_capture(mine) else mine for mine, its in zip(short.segments, long.segments, strict=False)]
    path = (*shared, *long.segments[len(shared) :])
    return tuple(each[1:-1] if is_capture(each) else each for each in path)
