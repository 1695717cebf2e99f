"""What an audit store says of a URL that it cannot open."""

import sys

import pytest

from remit.audit.errors import AuditStoreError, UnmigratedError
from remit.audit.store.store import AuditStore


def test_store_in_postgresql_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    # None in place of a module raises ModuleNotFoundError, as a module that is not installed does.
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "remit.audit.schema.postgres_timeout", raising=False)
    with pytest.raises(AuditStoreError, match=r"needs `psycopg`: install remit with the extra `postgres`"):
        AuditStore("postgresql+psycopg://me:S3CRET@db/audit")


@pytest.mark.parametrize(("found", "backed_up"), [(None, False), ("0001", True)])
def test_only_a_database_with_tables_is_to_be_backed_up(found: str | None, backed_up: bool) -> None:
    told = str(UnmigratedError("postgresql+psycopg://db/audit", found, "0004"))

    assert "start `remit serve` once with `--audit-migrate`" in told
    assert backed_up == ("back it up" in told)
