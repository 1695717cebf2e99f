"""PostgreSQL's own settings can make a commit forgetful too. (SQLite's are in the unit tests.)"""

import pytest
from contract.audit_records import decision
from sqlalchemy import create_engine, make_url, text

from remit.audit.errors import AuditStoreError
from remit.audit.store import AuditStore


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_database_that_commits_before_it_is_durable_is_refused(url: str) -> None:
    name = make_url(url).database
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with AuditStore(url) as store:
        store.migrate()
    with engine.connect() as connection:
        connection.execute(text(f"ALTER DATABASE {name} SET synchronous_commit = off"))
    with AuditStore(url) as store, pytest.raises(AuditStoreError, match="synchronous_commit `off`"):
        store.open()
    engine.dispose()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_lost_connection_fails_one_append_and_the_next_finds_a_new_one(store: AuditStore, url: str) -> None:
    store.append([first := decision()])
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        others = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        connection.execute(text(others))
    engine.dispose()
    with pytest.raises(AuditStoreError):
        store.append([decision()])
    store.append([second := decision()])
    assert [second, first] == store.decisions()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_nul_which_postgresql_cannot_hold_is_refused(store: AuditStore) -> None:
    with pytest.raises(AuditStoreError, match="NUL"):
        store.append([decision(resource_id="a\x00b")])
    store.append([record := decision()])
    assert [record] == store.decisions()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_password_is_in_no_message(url: str) -> None:
    unreachable = "postgresql+psycopg://ada:hunter2@127.0.0.1:1/audit"
    with AuditStore(unreachable) as store, pytest.raises(AuditStoreError) as failed:
        store.open()
    assert "hunter2" not in str(failed.value) + store.url
