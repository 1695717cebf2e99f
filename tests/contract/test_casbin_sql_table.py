"""Casbin's table of rows in a database: written whole, read as Casbin's adapter reads it."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from remit.migrate.casbin.sql_table import TABLE, RuleTableError, rows_of, write_rows

ROWS = [("p", "role:a", "acme", "**", "FLOW", "VIEW|LIST", "allow"), ("g", "user:x", "role:a", "acme/a.**")]


def texts(url: str, table: str = TABLE) -> list[str]:
    return [row.text for row in rows_of(url, table)]


def test_store_returns_records_in_order(url: str) -> None:
    write_rows(url, {TABLE: ROWS, "other": ROWS[1:]}, force=False)

    assert [", ".join(row) for row in ROWS] == texts(url)
    assert [", ".join(ROWS[1])] == texts(url, "other")
    assert ["casbin_rule:1", "casbin_rule:2"] == [row.place for row in rows_of(url)]


def test_table_with_rows_is_replaced_only_by_force(url: str) -> None:
    """Refused, nothing changes, not even in the tables before it; forced, only the new rows are there."""
    write_rows(url, {"second": ROWS}, force=False)
    with pytest.raises(RuleTableError, match=r"`second` of .* is not empty"):
        write_rows(url, {TABLE: ROWS, "second": ROWS[:1]}, force=False)
    with pytest.raises(RuleTableError, match="no table `casbin_rule`"):
        rows_of(url)
    assert 2 == len(texts(url, "second"))
    write_rows(url, {"second": ROWS[:1]}, force=True)
    assert [", ".join(ROWS[0])] == texts(url, "second")


def test_no_row_is_written_if_the_next_step_fails(url: str) -> None:
    def fail() -> None:
        raise OSError("no room")

    write_rows(url, {TABLE: ROWS}, force=False)
    with pytest.raises(OSError, match="no room"):
        write_rows(url, {TABLE: ROWS[:1]}, force=True, then=fail)

    assert 2 == len(texts(url))


def test_values_end_at_the_first_null_and_an_empty_text_is_a_field(url: str) -> None:
    """As Casbin's SQL adapters write and read rows."""
    write_rows(url, {TABLE: [("p", "alice", "")]}, force=False)

    assert ["p, alice, "] == texts(url)


def test_table_of_another_shape_is_reported(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE casbin_rule (id INTEGER, ptype VARCHAR(9), v0 VARCHAR(9))"))
    engine.dispose()

    with pytest.raises(RuleTableError, match="has no column `v1`"):
        rows_of(url)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("sqlite:///nowhere.db", "no database file `nowhere.db`"),
        ("nosuch://x", "nosuch"),
        ("postgresql+psycopg://me:S3CRET@127.0.0.1:1/x?password=S3CRET", "cannot be read"),
        (
            "postgresql+psycopg://me:S3CRET@host:S3CRET/x",
            r"`postgresql\+psycopg://\.\.\.` is no database's URL",
        ),
    ],
)
def test_missing_database_is_reported(url: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuleTableError, match=told) as refused:
        rows_of(url)
    assert "S3CRET" not in str(refused.value)
    assert [] == list(tmp_path.iterdir())


def test_a_field_too_long_for_its_column_is_refused(url: str) -> None:
    with pytest.raises(RuleTableError, match="has 256 characters"):
        write_rows(url, {TABLE: [("p", "x" * 256)]}, force=False)
