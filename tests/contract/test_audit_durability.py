"""PostgreSQL's own settings can make a commit forgetful too. (SQLite's are in the unit tests.)"""

import time

import pytest
from sqlalchemy import create_engine, make_url, text
from support.audit_records import decision

from remit.audit.errors import AuditStoreError, StoreAwayError
from remit.audit.store.store import AuditStore


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


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_lock_that_another_session_holds_is_not_waited_for_longer_than_the_timeout(
    store: AuditStore, url: str
) -> None:
    """The server ends the statement by itself, so that none is left waiting there, and the connection goes on."""
    store.append([first := decision()])
    engine = create_engine(url)
    with AuditStore(url, busy_timeout_s=0.5) as hasty:
        hasty.append([second := decision()])
        with engine.connect() as other:
            waiting = (
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            other.execute(text("LOCK TABLE decisions"))
            began = time.monotonic()
            with pytest.raises(AuditStoreError, match="statement timeout"):
                hasty.append([decision()])
            assert time.monotonic() - began < 5
            assert 0 == other.execute(text(waiting)).scalar()
        connection = hasty._writer._pooled.driver_connection  # type: ignore[union-attr]
        hasty.append([third := decision()])
        assert connection is hasty._writer._pooled.driver_connection  # type: ignore[union-attr]
    engine.dispose()
    assert [third, second, first] == store.decisions()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_unreachable_database_counts_as_away(url: str) -> None:
    unreachable = "postgresql+psycopg://ada@127.0.0.1:1/audit"
    with AuditStore(unreachable) as store, pytest.raises(StoreAwayError):
        store.open()
    with AuditStore(url) as store, pytest.raises(AuditStoreError) as there:
        store.open()
    assert not isinstance(there.value, StoreAwayError)
