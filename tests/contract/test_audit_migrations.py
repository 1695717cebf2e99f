"""The schema's versions, over SQLite and PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text
from support.audit_records import decision

from remit.audit.errors import AuditStoreError, UnmigratedError
from remit.audit.schema.migrate import newest_version
from remit.audit.schema.tables import decisions, metadata
from remit.audit.store.store import AuditStore


def test_migrations_build_exactly_the_tables_of_the_code(store: AuditStore, url: str) -> None:
    engine = create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert [] == compare_metadata(context, metadata)
    engine.dispose()


def test_migrations_build_the_parts_that_comparison_ignores(store: AuditStore, url: str) -> None:
    """WITHOUT ROWID on SQLite; on PostgreSQL every text column sorts by bytes."""
    engine = create_engine(url)
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            tables = "SELECT name FROM sqlite_schema WHERE sql LIKE '%WITHOUT ROWID%' ORDER BY name"
            options = {table.name: table.dialect_options["sqlite"] for table in metadata.tables.values()}
            without = sorted(name for name, each in options.items() if not each["with_rowid"])
            assert without == list(connection.execute(text(tables)).scalars())
            assert {"decisions", "lifecycle"} <= {*without}
        else:
            columns = "SELECT DISTINCT collation_name FROM information_schema.columns WHERE data_type = 'text' AND table_schema = 'public'"
            assert ["C"] == list(connection.execute(text(columns)).scalars())
        indexes = sorted(str(index["name"]) for index in inspect(connection).get_indexes("decisions"))
        assert ["decisions_by_principal"] == indexes
    engine.dispose()


def test_an_unmigrated_database_is_refused_with_what_to_do(url: str) -> None:
    with AuditStore(url) as store:
        if store.is_new():
            with pytest.raises(AuditStoreError, match="does not exist"):
                store.open()
            engine = create_engine(url)
            with engine.begin() as connection:
                connection.execute(text("CREATE TABLE other (x INTEGER)"))
                connection.execute(text("DROP TABLE other"))
            engine.dispose()
    with AuditStore(url) as store:
        with pytest.raises(UnmigratedError, match="--audit-migrate") as refused:
            store.open()
        assert (None, newest_version()) == (refused.value.found, refused.value.needed)
        store.migrate()
        store.open().append([record := decision()])
        assert [record] == store.decisions()


def test_migrating_twice_changes_nothing(store: AuditStore) -> None:
    store.append([record := decision()])
    store.migrate()
    assert [record] == store.open().decisions()


def test_one_of_several_programs_migrates(url: str) -> None:
    def migrate(_: int) -> None:
        with AuditStore(url) as store:
            store.migrate()
            store.open()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate, range(4)))


@pytest.mark.parametrize("version", ["0000", "9999"])
def test_a_schema_that_is_not_known_is_refused_with_the_known_ones_and_unchanged(
    store: AuditStore, url: str, version: str
) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE alembic_version SET version_num = '{version}'"))
    for step in (store.open, store.migrate):
        with pytest.raises(
            AuditStoreError, match=rf"schema `{version}`, .* \(it knows `0001`, .*`0004`\): use the remit"
        ):
            step()
    with engine.connect() as connection:
        assert version == connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        assert set(decisions.c.keys()) == {column["name"] for column in inspect(connection).get_columns("decisions")}
    engine.dispose()
