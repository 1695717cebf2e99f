"""Writes `newest.sql`, the newest schema of SQLite, from the migrations."""

from typing import Final

from sqlalchemy import create_engine

from remit.audit.schema.migrate import NEWEST_SQL
from remit.audit.schema.migrations import run

# In the order in which they were made. SQLite makes an index without a statement by itself.
_STATEMENTS: Final = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid"


def generated() -> str:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        run.migrate(connection, "head")
        statements = [*connection.exec_driver_sql(_STATEMENTS).scalars()]
        version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()
    engine.dispose()
    lines = (line.rstrip() for each in statements for line in f"{each.strip()};".splitlines())
    return "\n".join([*lines, f"INSERT INTO alembic_version VALUES ('{version}')", ""])


if __name__ == "__main__":
    NEWEST_SQL.write_text(generated(), encoding="utf-8")
