"""The schema's versions, over SQLite and PostgreSQL."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import MetaData, Table, create_engine, insert, inspect, text
from support.audit_records import decision

from remit.audit.errors import AuditStoreError, UnmigratedError
from remit.audit.ids import DecisionIds
from remit.audit.schema.migrate import newest_version, upgrade
from remit.audit.schema.tables import HOUR_US, decisions, metadata
from remit.audit.store.store import AuditStore
from remit.audit.verify.finding import FindingKind
from remit.audit.verify.store import verify_store
from remit.clock import now_us


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
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrated, [url] * 4))


def migrated(url: str) -> None:
    with AuditStore(url) as store:
        store.migrate()
        store.open()


def test_a_new_file_of_sqlite_waits_for_who_changes_it_to_wal(tmp_path: Path) -> None:
    for number in range(20):
        url = f"sqlite:///{tmp_path / str(number)}.db"
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(migrated, [url] * 8))


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


@pytest.mark.parametrize("version", ["0001", "0002"])
@pytest.mark.parametrize("age_us", [0, 3 * HOUR_US])
def test_records_from_before_there_were_chains_verify_after_a_migration(url: str, version: str, age_us: int) -> None:
    ids = DecisionIds(lambda: time.time_ns() - age_us * 1_000)
    engine = create_engine(url)
    with engine.begin() as connection:
        upgrade(connection, version)
        columns = [column["name"] for column in inspect(connection).get_columns("decisions")]
        for _ in range(3):
            time_us, (id_,) = ids.stamp()
            record = decision(id=id_, time_us=time_us)
            row = {name: value for name, value in record._asdict().items() if name in columns}
            connection.execute(Table("decisions", MetaData(), autoload_with=connection).insert().values(row))
    engine.dispose()
    with AuditStore(url) as store:
        store.migrate()
        store.open().append([decision()])
        with store.reading() as connection:
            report = verify_store([connection], counts=True)
        assert ([], 1, 3) == (report.findings, report.records, sum(each.unchained for each in report.chains))
        store.purge(now_us() - 2 * HOUR_US)
        with store.reading() as connection:
            report = verify_store([connection], counts=True)
        assert ([], 0 if age_us else 3) == (report.findings, sum(each.unchained for each in report.chains))
        # Whoever has a place for every record could have put another one beside them.
        with store.transaction() as connection:
            connection.execute(insert(decisions).values({**decision()._asdict(), "seq": 0, "hash": b""}))
        with store.reading() as connection:
            assert [FindingKind.INSERTED] == [each.kind for each in verify_store([connection]).findings]
