import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from remit.core.errors import RemitError
from remit.migrate.finding import FindingId


class UnsupportedError(RemitError):
    """The matcher expresses more than rows can."""

    def __init__(self, finding: FindingId, message: str) -> None:
        super().__init__(message)
        self.finding = finding


@dataclass(frozen=True, slots=True)
class MatcherGroup:
    """`g(r.x, p.y)`, or with a domain `g(r.x, p.y, r.z)`."""

    ptype: str
    domain: str | None


@dataclass(frozen=True, slots=True)
class MatcherClause:
    """The tests of one request field against one column of the rows. One of them must hold."""

    column: str
    equal: bool = False
    wildcards: frozenset[str] = frozenset()
    """Column values that match everything: `p.y == "*"`."""
    functions: tuple[str, ...] = ()
    group: MatcherGroup | None = None


@dataclass(frozen=True, slots=True)
class Matcher:
    clauses: dict[str, MatcherClause]
    """By field of the request."""
    superusers: dict[str, tuple[str, ...]]
    """By field of the request: the values that the matcher allows for every row."""


def parse_matcher(text: str) -> Matcher:
    """Parses a conjunction of tests, one for each field of the request, with an optional `|| r.x == "name"` after it.

    `text` is the matcher as Casbin keeps it, with `r_x` and `p_y`. Raises UnsupportedError.
    """
    expression = _parsed(text)
    superusers: dict[str, tuple[str, ...]] = {}
    bodies = []
    for alternative in _flat(expression, ast.Or):
        named = _literal(alternative, "r_")
        if named is None:
            bodies.append(alternative)
        else:
            superusers[named[0]] = (*superusers.get(named[0], ()), named[1])
    if len(bodies) != 1:
        raise _unsupported("expected one conjunction of tests, and at most `|| r.sub == ...` after it")
    clauses: dict[str, MatcherClause] = {}
    for test in _flat(bodies[0], ast.And):
        name, clause = _clause(list(_flat(test, ast.Or)))
        if name in clauses:
            raise _unsupported(f"two tests of `r.{name}`")
        clauses[name] = clause
    return Matcher(clauses, superusers)


def _parsed(text: str) -> ast.expr:
    if re.search(r"\beval\(", text):
        raise UnsupportedError(FindingId.ABAC, "the matcher evaluates a rule out of a row (`eval`)")
    if re.search(r"\br_\w+\.", text):
        raise UnsupportedError(FindingId.ABAC, "the matcher reads an attribute of the request")
    translated = re.sub(r"!(?!=)", "not ", text.replace("&&", " and ").replace("||", " or "))
    try:
        return ast.parse(translated.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise _unsupported(f"Casbin cannot parse it: {error}") from None


def _clause(tests: Sequence[ast.expr]) -> tuple[str, MatcherClause]:
    fields: set[str] = set()
    columns: set[str] = set()
    equal = False
    wildcards: set[str] = set()
    functions: list[str] = []
    group: MatcherGroup | None = None
    for test in tests:
        wildcard = _literal(test, "p_")
        if wildcard is not None:
            columns.add(wildcard[0])
            wildcards.add(wildcard[1])
            continue
        name, arguments = _call(test)
        field, column, *more = arguments
        if not field.startswith("r_") or not column.startswith("p_"):
            raise _unsupported(f"`{_shown(test)}`: expected a request field, then a column")
        fields.add(field[2:])
        columns.add(column[2:])
        if name == "==":
            equal = True
        elif re.fullmatch(r"g\d*", name):
            if group is not None or len(more) > 1 or (more and not more[0].startswith("r_")):
                raise _unsupported(f"`{_shown(test)}`: expected one `g(r.x, p.y)` or `g(r.x, p.y, r.z)`")
            group = MatcherGroup(name, more[0][2:] if more else None)
        elif more:
            raise _unsupported(f"`{_shown(test)}`: expected two arguments")
        else:
            functions.append(name)
    if len(fields) != 1 or len(columns) != 1:
        raise _unsupported(f"`{' || '.join(map(_shown, tests))}`: expected tests of one field against one column")
    return fields.pop(), MatcherClause(columns.pop(), equal, frozenset(wildcards), tuple(functions), group)


def _call(test: ast.expr) -> tuple[str, list[str]]:
    """The function of a test and the names of its arguments. `==` counts as a function."""
    match test:
        case ast.Compare(ast.Name(left), [ast.Eq()], [ast.Name(right)]):
            return "==", sorted((left, right), reverse=True)
        case ast.Call(ast.Name(function), arguments, []) if len(arguments) > 1:
            names = [argument.id for argument in arguments if isinstance(argument, ast.Name)]
            if len(names) == len(arguments):
                return function, names
    raise _unsupported(f"`{_shown(test)}` is not understood")


def _literal(test: ast.expr, prefix: str) -> tuple[str, str] | None:
    """The name and the text of `x == "text"`, in either order."""
    match test:
        case ast.Compare(ast.Name(name), [ast.Eq()], [ast.Constant(str(text))]) if name.startswith(prefix):
            return name[2:], text
        case ast.Compare(ast.Constant(str(text)), [ast.Eq()], [ast.Name(name)]) if name.startswith(prefix):
            return name[2:], text
    return None


def _flat(expression: ast.expr, operator: type[ast.boolop]) -> Iterator[ast.expr]:
    if isinstance(expression, ast.BoolOp) and isinstance(expression.op, operator):
        for value in expression.values:
            yield from _flat(value, operator)
    else:
        yield expression


def _shown(test: ast.expr) -> str:
    return re.sub(r"\b([rp])_", r"\1.", ast.unparse(test))


def _unsupported(message: str) -> UnsupportedError:
    return UnsupportedError(FindingId.UNSUPPORTED_MATCHER, message)
