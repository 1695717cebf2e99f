import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from remit.audit.errors import StoreChangedError
from remit.audit.schema.open_files import OpenFiles


def rename(file: Path) -> None:
    file.rename(file.with_suffix(".moved"))


def delete(file: Path) -> None:
    file.unlink()


def replace(file: Path) -> None:
    other = file.with_suffix(".other")
    other.write_bytes(file.read_bytes())
    other.replace(file)


def rename_folder(file: Path) -> None:
    file.parent.rename(file.parent.with_name("moved"))


def replace_folder(file: Path) -> None:
    folder, moved = file.parent, file.parent.with_name("moved")
    folder.rename(moved)
    folder.mkdir()
    for each in moved.iterdir():
        (folder / each.name).write_bytes(each.read_bytes())


@pytest.fixture(params=["linux", "elsewhere"])
def held(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenFiles]:
    """Of a database that has a log. `elsewhere`, the system does not tell the path of an open file."""
    if request.param == "elsewhere":

        def readlink(path: str) -> str:
            raise FileNotFoundError(path)

        monkeypatch.setattr(os, "readlink", readlink)
    file = tmp_path / "audit" / "audit.db"
    file.parent.mkdir()
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE decisions (id)")
        files = OpenFiles("the audit database", file)
        files.hold()
        files.hold_log()
        yield files
        files.release_log()


@pytest.mark.parametrize("suffix", ["", "-wal"])
@pytest.mark.parametrize("act", [rename, delete, replace, rename_folder, replace_folder])
def test_file_that_left_its_place_is_noticed(
    held: OpenFiles, tmp_path: Path, act: Callable[[Path], None], suffix: str
) -> None:
    held.check()
    act(tmp_path / "audit" / f"audit.db{suffix}")
    with pytest.raises(StoreChangedError, match=r"deleted or renamed|replaced"):
        held.check()


def test_moved_folder_behind_a_link_counts_as_in_place(held: OpenFiles, tmp_path: Path) -> None:
    (tmp_path / "audit").rename(tmp_path / "moved")
    (tmp_path / "audit").symlink_to(tmp_path / "moved")
    held.check()


def test_log_that_another_process_rewrote_is_noticed(held: OpenFiles, tmp_path: Path) -> None:
    (tmp_path / "audit" / "audit.db-wal").write_bytes(b"something else")
    with pytest.raises(StoreChangedError, match="overwritten or cut short"):
        held.check()
