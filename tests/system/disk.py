"""The audit store's files as a stopped server left them: read from a copy, so that looking changes nothing."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import make_url

from remit.audit.many import AuditStores


def copied(source: Path, target: Path) -> Path:
    """The store's files, and no other process's shared memory."""
    target.mkdir(parents=True)
    for file in source.glob("audit.*"):
        if not file.name.endswith("-shm"):
            shutil.copyfile(file, target / file.name)
    return target


def decision_ids(folder: Path) -> set[bytes]:
    """Every decision of the stores in that folder, which open and are whole."""
    with AuditStores(f"sqlite:///{folder / 'audit.db'}") as stores:
        files = [make_url(each.url).database for each in stores.open().members]
    found: list[bytes] = []
    for file in files:
        with closing(sqlite3.connect(file)) as connection:
            assert [("ok",)] == connection.execute("PRAGMA integrity_check").fetchall()
            found += [id_ for (id_,) in connection.execute("SELECT id FROM decisions")]
    assert len(found) == len(set(found))
    return set(found)
