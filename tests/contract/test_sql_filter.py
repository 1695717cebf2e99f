"""`remit.client.sql.where` selects a row if and only if Check allows in the row's namespace, on every database it speaks."""

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from laws.worldly import snapshots
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    insert,
    literal_column,
    make_url,
    not_,
    select,
    text,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import CompileError
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column
from strategies import World, namespace_text, namespaces, patterns, randoms, worlds

from remit import wire
from remit.client.sql import _SQLITE, where
from remit.core.names import NAMESPACE_LIMIT, Namespace, Word, is_namespace
from remit.core.namespace_set import NamespaceSet
from remit.core.patterns import NamespacePattern
from remit.core.question import Question
from remit.engine.queries.search import FilterFor
from remit.engine.snapshot import Snapshot

COLUMNS = {
    "sqlite": {
        "plain": String(),
        "folding": String(collation="NOCASE"),
        "trimming": String(collation="RTRIM"),
    },
    "postgresql": {
        "plain": Text(),
        "bounded": String(200),
        "by_bytes": Text(collation="C"),
        "by_code_point": Text(collation="pg_unicode_fast"),
    },
}
GARBAGE = (
    *(
        "",
        " ",
        ".",
        "..",
        "a.",
        ".a",
        "a..b",
        "A",
        "a.B",
        "a b",
        " a",
        "a ",
        "a\n",
        "a.b\n",
        "a/b",
        "a/",
        "*",
        "**",
        "a.*",
    ),
    *(
        "a.**",
        "-a",
        "_a",
        "a.-b",
        "a._b",
        "ä",
        "a.ä",
        "\u0430",
        "a\\",
        'a"',
        'a","b',
        "a'",
        "[a]",
        "{",
        "%",
        "a%",
        "?",
        "a\x01b",
    ),
    *("prod/x", "prod.", "prod.x/", "PROD", "a" * (NAMESPACE_LIMIT + 1), "\\u0061", 'a"].b', "null", "1", "1.5"),
)
NAMES = ("a", "b", "a.b", "a_b", "a-b", "axb", "a.b.c", "prod", "prod2", "prod.x", "prod-2.x", "a" * NAMESPACE_LIMIT)

exhaustively = settings(
    deadline=None,
    max_examples=30,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module", params=COLUMNS)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param == "sqlite":
        found = create_engine("sqlite://")
    else:
        server = make_url(request.getfixturevalue("postgresql_server"))
        admin = create_engine(server, isolation_level="AUTOCOMMIT")
        name = f"filter_{uuid.uuid4().hex}"
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        admin.dispose()
        found = create_engine(server.set(database=name))
    table_of(found).create(found)
    yield found
    found.dispose()


@contextmanager
def in_memory() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def table_of(engine: Engine) -> Table:
    columns = (Column(name, kind, index=True) for name, kind in COLUMNS[engine.dialect.name].items())
    return Table("flows", MetaData(), Column("id", Integer, primary_key=True), *columns)


def selected(connection: Connection, namespaces: NamespaceSet, rows: list[str | None]) -> list[str | None]:
    """The rows that the filter selects, over each column the same; and NOT selects the others but NULL."""
    table = table_of(connection.engine)
    columns = [column for column in table.c if column.name != "id"]
    nested = connection.begin_nested()
    connection.execute(
        insert(table), [{"id": i, **dict.fromkeys([c.name for c in columns], row)} for i, row in enumerate(rows)]
    )
    answers = []
    for column in columns:
        clause = where(namespaces, column)
        found = set(connection.scalars(select(table.c.id).where(clause)))
        others = set(connection.scalars(select(table.c.id).where(not_(clause))))
        assert not found & others
        assert {i for i, row in enumerate(rows) if row is not None} == found | others, column
        answers.append([row for i, row in enumerate(rows) if i in found])
    nested.rollback()
    assert all(answer == answers[0] for answer in answers), answers
    return answers[0]


def instances(random: Random, patterns: Iterable[NamespacePattern]) -> Iterator[str]:
    """Texts in and just outside of patterns."""
    for pattern in patterns:
        name = ".".join(random.choice(NAMES[:6]) if each == "*" else each for each in pattern.segments)
        yield from (name, f"{name}.x", f"{name}2", f"{name}-x", f"{name}_", f"{name}/x", f"{name}.", name.upper())
        yield name.replace("_", "x").replace("-", "_")
        yield name[: name.rfind(".")]


def plan(snapshot: Snapshot, question: Question) -> NamespaceSet:
    """What the client gets."""
    inquiry = FilterFor(question.principal, question.action, question.kind)
    answer = inquiry.answer(snapshot) if inquiry.refusal(snapshot) is None else NamespaceSet()
    return wire.set_from(wire.set_to(answer))


def permissions(snapshot: Snapshot, random: Random) -> list[tuple[Word, Word]]:
    doors = snapshot.permissions.within_namespace
    found = sorted((kind, action) for kind, actions in doors.items() for action in actions)
    return random.sample(found, min(2, len(found)))


@exhaustively
@given(worlds, randoms)
def test_a_filter_equals_check(engine: Engine, world: World, random: Random) -> None:
    """Over generated rows of generated policies: no row more, no row less."""
    with engine.connect() as connection:
        for snapshot in snapshots(world):
            people = [each for each in world.subjects if each.startswith(("user:", "service:"))]
            for kind, action in permissions(snapshot, random):
                principal = random.choice(people)
                question = Question(principal, action, kind)
                namespaces = plan(snapshot, question)
                rows: list[str | None] = [None, *NAMES, *GARBAGE]
                rows += [namespace_text(random, world.segments) for _ in range(10)]
                rows += instances(random, (*namespaces.only, *namespaces.excluded))
                allowed = [
                    row
                    for row in rows
                    if row is not None
                    and is_namespace(row)
                    and snapshot.decide(question._replace(namespace=Namespace(row))).allowed
                ]
                assert allowed == selected(connection, namespaces, rows)


sets = st.builds(
    lambda only, excluded: NamespaceSet(tuple(only), tuple(excluded)),
    st.lists(patterns(), max_size=5),
    st.lists(patterns(), max_size=3),
)
texts = st.one_of(
    st.none(),
    namespaces,
    st.text(alphabet='ab2.-_*/A"\\ \n{', max_size=8),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5),
)


@exhaustively
@given(sets, st.lists(texts, max_size=30), randoms)
def test_a_filter_equals_its_set(
    engine: Engine, namespaces: NamespaceSet, rows: list[str | None], random: Random
) -> None:
    rows = [*rows, None, *instances(random, (*namespaces.only, *namespaces.excluded))]
    with engine.connect() as connection:
        assert contained(namespaces, rows) == selected(connection, namespaces, rows)


@pytest.mark.parametrize("only", ["*", "a.*", "*.b", "*.b.**", "a.*.c", "*.*.**", "a.*.**", "prod.**", "a", "a.b.**"])
def test_no_garbage_is_an_error_or_selected(engine: Engine, only: str) -> None:
    rows: list[str | None] = [None, *NAMES, *GARBAGE]
    with engine.connect() as connection:
        assert contained(pattern_set([only]), rows) == selected(connection, pattern_set([only]), rows)


def contained(namespaces: NamespaceSet, rows: Iterable[str | None]) -> list[str]:
    return [row for row in rows if row and is_namespace(row) and namespaces.contains(Namespace(row))]


def pattern_set(only: Iterable[str], excluded: Iterable[str] = ()) -> NamespaceSet:
    return NamespaceSet(tuple(map(NamespacePattern.parse, only)), tuple(map(NamespacePattern.parse, excluded)))


@pytest.mark.parametrize("everything", ["**", "*.**"])
def test_the_widest_filter_selects_every_namespace_and_nothing_else(engine: Engine, everything: str) -> None:
    with engine.connect() as connection:
        assert [*NAMES] == selected(connection, pattern_set([everything]), [None, *GARBAGE[:-4], *NAMES])
        assert [] == selected(connection, pattern_set([everything], ["**"]), [None, *GARBAGE, *NAMES])
        assert [] == selected(connection, pattern_set([]), [None, *GARBAGE, *NAMES])


def test_the_longest_answer_is_one_statement(engine: Engine) -> None:
    """10,000 patterns: SQLite refuses more than 1,000 terms in a row, and more than 32,766 parameters."""
    most = pattern_set((f"a{number}.*.x.**" for number in range(5_000)), (f"a{number}.b.**" for number in range(5_000)))
    rows = {1: None, 2: "a7.c.x", 3: "a7.b.x", 4: "a7.x", 5: "b.c.x", 6: "a7.c.x2"}
    table = table_of(engine)
    with engine.connect() as connection:
        connection.execute(insert(table), [{"id": number, "plain": row} for number, row in rows.items()])
        assert [2] == [*connection.scalars(select(table.c.id).where(where(most, table.c.plain)))]
        connection.rollback()


def test_literal_patterns_use_an_index_by_bytes(engine: Engine) -> None:
    table = table_of(engine)
    column = table.c["plain" if engine.dialect.name == "sqlite" else "by_bytes"]
    statement = select(table.c.id).where(where(pattern_set(["a", "b.c.**", "prod.*.x"], ["b.c.d.**"]), column))
    shown = statement.compile(engine, compile_kwargs={"literal_binds": True})
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            steps = [row[3] for row in connection.execute(text(f"EXPLAIN QUERY PLAN {shown}"))]
            assert 3 == sum("SEARCH flows USING" in step for step in steps)
            assert [] == [step for step in steps if "SCAN" in step]
        else:
            # The planner goes by statistics, and an autovacuum may have taken those of the empty table.
            connection.execute(text("INSERT INTO flows (by_bytes) SELECT 'a' || n FROM generate_series(1, 5000) AS n"))
            connection.execute(text("ANALYZE flows"))
            steps = [row[0] for row in connection.execute(text(f"EXPLAIN {shown}"))]
            connection.rollback()
            assert 3 == sum("Bitmap Index Scan on ix_flows_by_bytes" in step for step in steps)


@pytest.mark.parametrize("only", ["**", "a.**", "*", "*.b", "*.b.**", "1", "*.*.b", "a.*.b.**"])
def test_on_sqlite_a_value_that_is_no_text_is_not_selected(only: str) -> None:
    """A column holds values of any type there, and texts with bytes that are none."""
    values = ("x'61'", "1", "1.5", "'a' || char(0)", "'a' || char(0) || 'b'", "'a.b' || char(0)", "x''", "x'ff'")
    values += ("CAST(x'61ff' AS TEXT)", "CAST(x'ff2e62' AS TEXT)", "CAST(x'612e62ff' AS TEXT)", "NULL", "'a.b'")
    namespace = literal_column("namespace", String())
    table = Table("flows", MetaData())
    with in_memory() as connection:
        connection.execute(text("CREATE TABLE flows (namespace)"))
        connection.execute(text(f"INSERT INTO flows VALUES {', '.join(f'({value})' for value in values)}"))
        statement = (
            select(literal_column("quote(namespace)")).select_from(table).where(where(pattern_set([only]), namespace))
        )
        expected = ["'a.b'"] if pattern_set([only]).contains(Namespace("a.b")) else []
        assert expected == [*connection.scalars(statement)]


@pytest.mark.parametrize("value", [*GARBAGE, "\0", '"\0', "a.\ud7ff", b'a".b', 1, 1.5, None])
def test_on_sqlite_a_segment_of_garbage_is_no_error(value: object) -> None:
    """SQLite may look at the conditions in any order."""
    with in_memory() as connection:
        found = text(f"SELECT {_SQLITE.segment.format(text=':value', index=0)}")
        first = connection.scalar(found, {"value": value})
    assert not isinstance(value, str) or first == value.split(".")[0]


def test_every_comparison_is_by_bytes(engine: Engine) -> None:
    """The PostgreSQL of the tests knows no collation that folds or reorders, so that its rows cannot tell."""
    column = table_of(engine).c.plain
    shown = str(where(pattern_set(["**", "a", "b.**", "*.x", "c.*.d.**"], ["a.b", "*.y.**"]), column).compile(engine))
    forced = {"sqlite": "(flows.plain COLLATE BINARY)", "postgresql": '(CAST(flows.plain AS TEXT) COLLATE "C")'}
    assert shown.count("flows.plain") == shown.count(forced[engine.dialect.name]) > 10


def test_two_filters_are_two_statements(engine: Engine) -> None:
    """SQLAlchemy keeps compiled statements; an empty set is not the namespace that a word for it spells."""
    table = table_of(engine)
    with engine.connect() as connection:
        connection.execute(insert(table), [{"plain": name} for name in ("a", "b", "nowhere")])
        for only in ([], ["nowhere"], ["a"], ["b"], ["a", "b"]):
            statement = select(table.c.plain).where(where(pattern_set(only), table.c.plain))
            assert only == sorted(connection.scalars(statement))
        connection.rollback()


def test_another_database_is_an_error_when_the_statement_is_compiled() -> None:
    table = Table("flows", MetaData(), Column("namespace", String))
    with pytest.raises(CompileError, match="expected one of them, got mysql"):
        select(table).where(where(pattern_set(["a"]), table.c.namespace)).compile(dialect=mysql.dialect())


class Base(DeclarativeBase):
    pass


class Flow(Base):
    __tablename__ = "mapped"
    id: Mapped[int] = mapped_column(primary_key=True)
    namespace: Mapped[str | None]


def test_mapped_attributes_and_aliases_are_columns_too(engine: Engine) -> None:
    with engine.connect() as connection:
        Base.metadata.create_all(connection)
        connection.execute(insert(Flow), [{"id": 1, "namespace": "a.b"}, {"id": 2, "namespace": "b"}])
        other = aliased(Flow)
        for flow in (Flow, other):
            assert [1] == [*connection.scalars(select(flow.id).where(where(pattern_set(["a.**"]), flow.namespace)))]
        connection.rollback()
