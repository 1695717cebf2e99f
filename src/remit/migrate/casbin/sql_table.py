"""The table in which Casbin's SQL adapters keep rows: `ptype`, `v0` to `v5`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    Column,
    Engine,
    Integer,
    MetaData,
    RowMapping,
    String,
    Table,
    create_engine,
    event,
    inspect,
    make_url,
)
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from remit.core.errors import RemitError
from remit.core.names import quote
from remit.core.urls import masked
from remit.migrate.casbin.enforcer import SourceRow

TABLE: Final = "casbin_rule"
_VALUES: Final = tuple(f"v{index}" for index in range(6))
_WIDTH: Final = 255


class RuleTableError(RemitError):
    """The database cannot be read or written as requested."""


def rows_of(url: str, table: str = TABLE) -> list[SourceRow]:
    """The rows as Casbin's adapter returns them: the columns up to the first NULL, joined by commas.

    Raises RuleTableError.
    """
    engine = _engine(url, must_exist=True)
    try:
        with engine.connect() as connection:
            found = inspect(connection)
            if not found.has_table(table):
                raise RuleTableError(f"`{masked(str(engine.url))}` has no table `{quote(table)}`")
            names = {column["name"] for column in found.get_columns(table)}
            missing = [name for name in ("ptype", *_VALUES) if name not in names]
            if missing:
                raise RuleTableError(f"table `{table}` of `{masked(str(engine.url))}` has no column `{missing[0]}`")
            read = Table(table, MetaData(), autoload_with=connection)
            statement = read.select().order_by(read.c.id) if "id" in names else read.select()
            rows = connection.execute(statement).mappings().all()
    except SQLAlchemyError as error:
        raise RuleTableError(f"`{masked(str(engine.url))}` cannot be read: {_cause(error)}") from error
    finally:
        engine.dispose()
    return [SourceRow(table, row.get("id", number), _line(row)) for number, row in enumerate(rows, start=1)]


def write_rows(
    url: str,
    tables: Mapping[str, Sequence[Sequence[str]]],
    *,
    force: bool,
    then: Callable[[], None] = lambda: None,
) -> None:
    """Writes the rows of each table (type and fields), all in one transaction.

    Creates missing tables. Refuses a table with rows, or empties it first with `force`. Calls `then` before the commit.
    Raises RuleTableError, or what `then` raises, and then leaves the rows unchanged.
    """
    check_rows(tables)
    engine = _engine(url, must_exist=False)
    metadata = MetaData()
    try:
        with engine.begin() as connection:
            for name, rows in tables.items():
                columns = [Column(each, String(_WIDTH)) for each in ("ptype", *_VALUES)]
                table = Table(name, metadata, Column("id", Integer, primary_key=True), *columns)
                table.create(connection, checkfirst=True)
                if connection.execute(table.select().limit(1)).first() is not None:
                    if not force:
                        raise RuleTableError(
                            f"table `{name}` of `{masked(str(engine.url))}` is not empty: name another database, "
                            "or replace its rows with --force"
                        )
                    connection.execute(table.delete())
                values = [dict(zip(("ptype", *_VALUES), _padded(row), strict=True)) for row in rows]
                if values:
                    connection.execute(table.insert(), values)
            then()
    except SQLAlchemyError as error:
        raise RuleTableError(f"`{masked(str(engine.url))}` cannot be written: {_cause(error)}") from error
    finally:
        engine.dispose()


def check_rows(tables: Mapping[str, Iterable[Sequence[str]]]) -> None:
    """Raises RuleTableError if a field is too long for the table's columns."""
    for name, rows in tables.items():
        for row in rows:
            long = next((field for field in row if len(field) > _WIDTH), None)
            if long is not None:
                raise RuleTableError(
                    f"`{quote(long)}` has {len(long)} characters, a column of `{name}` holds {_WIDTH}: split its row"
                )


def _engine(url: str, *, must_exist: bool) -> Engine:
    try:
        parsed = make_url(url)
        if must_exist and parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
            raise RuleTableError(f"there is no database file `{parsed.database}`")
        engine = create_engine(parsed)
    except (SQLAlchemyError, ImportError, ValueError) as error:
        # The error may quote a malformed URL, which may contain a password.
        cause = "" if isinstance(error, (ArgumentError, ValueError)) else f": {_cause(error)}"
        raise RuleTableError(
            f"`{quote(url.partition('://')[0])}://...` is no database's URL{cause}; expected `sqlite:///PATH` or "
            "`postgresql+psycopg://USER@HOST/DATABASE`"
        ) from error
    if engine.dialect.name == "sqlite":
        # By default, Python's driver begins a transaction only at the first row, after the tables are created.
        event.listen(engine, "connect", _leave_transactions)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


def _leave_transactions(driver: Any, _record: Any) -> None:
    driver.isolation_level = None


def _line(row: RowMapping) -> str:
    fields = [str(row["ptype"])]
    for name in _VALUES:
        if row[name] is None:
            break
        fields.append(str(row[name]))
    return ", ".join(fields)


def _padded(row: Sequence[str]) -> list[str | None]:
    return [*row, *[None] * (len(_VALUES) + 1 - len(row))]


def _cause(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).partition("\n")[0]
