"""Backs up a policy store in SQLite, and restores one: what the two are to a backup of the audit, and what differs."""

import sqlite3
from pathlib import Path
from typing import Final

from sqlalchemy import NullPool, create_engine, select

from remit.audit.errors import AuditStoreError
from remit.audit.store.backup import StoreKind
from remit.clock import now_us
from remit.fleet.errors import ForgedReleaseError, PolicyStoreError
from remit.fleet.history import Known, pulled_since
from remit.fleet.node_report import LIVE_S, KnownNode
from remit.fleet.schema.migrate import VERSION_TABLE, known_versions
from remit.fleet.schema.tables import nodes
from remit.fleet.trust import Trust


def _files(file: Path) -> list[Path]:
    return [file] if file.exists() and file.stat().st_size else []


def _verify(store: sqlite3.Connection) -> None:
    """Follows all chains, as a node does that has nothing yet."""
    with create_engine("sqlite://", creator=lambda: store, poolclass=NullPool).connect() as connection:
        try:
            pulled_since(connection, Known(), Trust())
        except (ForgedReleaseError, PolicyStoreError) as error:
            raise AuditStoreError(str(error)) from error


def _refuse_users(store: sqlite3.Connection) -> None:
    with create_engine("sqlite://", creator=lambda: store, poolclass=NullPool).connect() as connection:
        live = [node for row in connection.execute(select(nodes)) if (node := KnownNode.of(row, now_us())).is_live]
    if live:
        raise AuditStoreError(
            f"node `{live[0].node}` serves from it, by its report {live[0].age_s:.0f} s ago: stop the server; after a crash, "
            f"wait {LIVE_S:.0f} s"
        )


POLICY: Final = StoreKind(
    "policy store",
    _files,
    VERSION_TABLE,
    known_versions,
    verify=_verify,
    refuse_users=_refuse_users,
)
