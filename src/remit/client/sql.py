"""A set of namespaces as a WHERE clause of SQLAlchemy, for SQLite and PostgreSQL. Needs `remit[sqlalchemy]`."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, NoReturn

from sqlalchemy import ColumnElement, SQLColumnExpression, String, literal_column
from sqlalchemy.exc import CompileError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType, TypeEngine

from remit.core.names import NAMESPACE_LIMIT, SEGMENT
from remit.core.namespace_set import NamespaceSet
from remit.core.patterns import NamespacePattern


def where(namespaces: NamespaceSet, column: SQLColumnExpression[Any]) -> ColumnElement[bool]:
    """True for exactly the rows whose `column` is a namespace of the set, compared byte by byte, whatever the column's
    collation.

    It is false for text that is not a namespace: the empty text, `Acme`, `a..b`. It is NULL if the column is NULL, so
    NOT does not select such a row either.

    Patterns that start with a literal segment become equalities and ranges, so that a bytewise index can serve them: on
    SQLite an index without COLLATE, on PostgreSQL `(column COLLATE "C")`. For any other dialect, compiling the
    statement raises CompileError.
    """
    return _InSet(namespaces, column)


class _InSet(FunctionElement[bool]):
    inherit_cache = True
    # Not Boolean: SQLite has none, so SQLAlchemy would compare the expression to 1, and SQLite would not use an index.
    type: TypeEngine[Any] = NullType()

    def __init__(self, namespaces: NamespaceSet, column: SQLColumnExpression[Any]) -> None:
        # The second clause is never written. It gives each set its own entry in SQLAlchemy's cache of compiled
        # statements.
        super().__init__(column, literal_column(repr(namespaces)))
        self.namespaces = namespaces


class _Dialect(NamedTuple):
    """SQL fragments of a database. Each is NULL for NULL and raises no error for any text."""

    bytes: str
    """The column as text that is compared byte by byte."""
    is_namespace: str
    segment: str
    """The segment at `index`, from 0; a value that is not a segment if there is none."""


_SQLITE: Final = _Dialect(
    "({column} COLLATE BINARY)",
    # A SQLite column may hold values of any type, and GLOB and length read a text only up to its first NUL.
    "nullif(typeof({text}), 'null') = 'text'"
    f" AND length({{text}}) BETWEEN 1 AND {NAMESPACE_LIMIT} AND length(CAST({{text}} AS BLOB)) = length({{text}})"
    " AND {text} NOT GLOB '*[^a-z0-9_.-]*' AND {text} NOT GLOB '[_.-]*'"
    " AND {text} NOT GLOB '*.[_.-]*' AND {text} NOT GLOB '*.'",
    # A quoted text is one JSON string; split at its dots it is a JSON list. JSON accepts every such value.
    """json_extract('[' || replace(json_quote(CAST({text} AS TEXT)), '.', '","') || ']', '$[{index}]')""",
)
_POSTGRESQL: Final = _Dialect(
    # citext ignores case and char(n) pads with blanks. For varchar and text the cast changes nothing, for an index too.
    '(CAST({column} AS TEXT) COLLATE "C")',
    f"{{text}} ~ '^{SEGMENT}([.]{SEGMENT})*$' AND length({{text}}) <= {NAMESPACE_LIMIT}",
    "split_part({text}, '.', {index} + 1)",
)


@compiles(_InSet)
def _elsewhere(element: _InSet, compiler: SQLCompiler, **options: Any) -> NoReturn:
    del element, options
    raise CompileError(
        f"remit.client.sql speaks the dialects sqlite and postgresql: expected one of them, got {compiler.dialect.name}"
    )


@compiles(_InSet, "sqlite")
def _on_sqlite(element: _InSet, compiler: SQLCompiler, **options: Any) -> str:
    return _Text(_SQLITE, element, compiler, options).is_in(element.namespaces)


@compiles(_InSet, "postgresql")
def _on_postgresql(element: _InSet, compiler: SQLCompiler, **options: Any) -> str:
    return _Text(_POSTGRESQL, element, compiler, options).is_in(element.namespaces)


class _Text:
    """The text of a column, and conditions on it as SQL."""

    def __init__(self, dialect: _Dialect, element: _InSet, compiler: SQLCompiler, options: dict[str, Any]) -> None:
        column, _ = element.clauses
        self._dialect = dialect
        self._text = dialect.bytes.format(column=compiler.process(column, **options))
        self._literal: Callable[[str], str] = lambda value: compiler.render_literal_value(value, String())

    def is_in(self, namespaces: NamespaceSet) -> str:
        condition = f"{self._dialect.is_namespace.format(text=self._text)} AND {self._within(namespaces.only)}"
        if namespaces.excluded:
            condition += f" AND NOT {self._within(namespaces.excluded)}"
        return f"({condition})"

    def _within(self, patterns: Iterable[NamespacePattern]) -> str:
        names: list[str] = []
        terms: list[str] = []
        for pattern in patterns:
            if not pattern.segments:
                terms.append(f"{self._text} > ''")
            elif "*" in pattern.segments:
                terms.append(self._starred(pattern))
            else:
                name = ".".join(pattern.segments)
                names.append(self._literal(name))
                if pattern.subtree:
                    terms.append(self._below(name))
        if names:
            terms.append(f"{self._text} IN ({', '.join(names)})")
        # Not FALSE, which is not NULL if the column is NULL.
        return _any_of(terms) if terms else f"{self._text} < ''"

    def _below(self, name: str) -> str:
        """`/` is the next byte after `.`."""
        return f"{self._text} > {self._literal(f'{name}.')} AND {self._text} < {self._literal(f'{name}/')}"

    def _starred(self, pattern: NamespacePattern) -> str:
        segments = pattern.segments
        first = segments.index("*")
        compared = ">=" if pattern.subtree else "="
        points = f"length({self._text}) - length(replace({self._text}, '.', ''))"
        conditions = [f"{points} {compared} {len(segments) - 1}"]
        if first:
            conditions.append(self._below(".".join(segments[:first])))
        for index, segment in enumerate(segments):
            if index > first and segment != "*":
                found = self._dialect.segment.format(text=self._text, index=index)
                conditions.append(f"{found} = {self._literal(segment)}")
        return " AND ".join(conditions)


def _any_of(terms: Sequence[str]) -> str:
    """Splits the terms into halves, because SQLite allows at most 1,000 terms in a row."""
    if len(terms) == 1:
        return f"({terms[0]})"
    middle = len(terms) // 2
    return f"({_any_of(terms[:middle])} OR {_any_of(terms[middle:])})"
