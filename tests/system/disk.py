"""The audit store's files as a stopped server left them: read from a copy, so that looking changes nothing."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from remit.audit.store import AuditStore


def copied(source: Path, target: Path) -> Path:
    """The store's files, and no other process's shared memory."""
    target.mkdir(parents=True)
    for file in source.glob("audit.db*"):
        if not file.name.endswith("-shm"):
            shutil.copyfile(file, target / file.name)
    return target


def decision_ids(folder: Path) -> set[bytes]:
    """Every decision of the store in that folder, which opens and is whole."""
    AuditStore(f"sqlite:///{folder / 'audit.db'}").open().close()
    with closing(sqlite3.connect(folder / "audit.db")) as connection:
        assert [("ok",)] == connection.execute("PRAGMA integrity_check").fetchall()
        return {id_ for (id_,) in connection.execute("SELECT id FROM decisions")}
