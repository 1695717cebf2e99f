"""Files and folders that are their owner's only."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from remit.files import make_private, open_private, secret_problem, write_new, write_whole


@pytest.fixture(autouse=True)
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_new_folders_are_private_and_existing_ones_unchanged(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    folder = tmp_path / "a" / "b" / "c"
    for _ in range(2):
        make_private(folder)
        assert [0o755, 0o700, 0o700, 0o700] == [
            mode(each) for each in (tmp_path, *reversed(folder.parents[:2]), folder)
        ]
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        make_private(tmp_path / "file" / "folder")


def test_a_file_is_private(tmp_path: Path) -> None:
    os.close(open_private(tmp_path / "lock"))
    write_whole(tmp_path / "whole", b"content")
    assert [0o600, 0o600] == [mode(tmp_path / name) for name in ("lock", "whole")]
    assert ["lock", "whole"] == sorted(each.name for each in tmp_path.iterdir())
    assert b"content" == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("allowed", [0o600, 0o400, 0o700])
def test_secret_of_its_owner_has_no_problem(tmp_path: Path, allowed: int) -> None:
    (tmp_path / "key").touch(allowed)
    assert "" == secret_problem(tmp_path / "key")


@pytest.mark.parametrize("open_", [0o604, 0o602, 0o620, 0o644, 0o666, 0o460])
def test_secret_that_others_may_read_or_change_is_reported(tmp_path: Path, open_: int) -> None:
    (tmp_path / "key").touch(open_)
    told = secret_problem(tmp_path / "key")
    assert f"`{tmp_path / 'key'}`" in told
    assert f"(mode {open_:04o})" in told
    assert f"run `chmod {'u=rw,g=r,o=' if os.getuid() == 0 else 'u=rw,go='} " in told


def test_the_group_may_read_a_secret_that_root_owns(tmp_path: Path) -> None:
    """As an orchestrator mounts it. Of anybody else's file it may not."""
    (tmp_path / "key").touch(0o440)
    assert (os.getuid() == 0) == ("" == secret_problem(tmp_path / "key"))
    if os.getuid() == 0:
        os.chown(tmp_path / "key", 65_534, 0)
        assert "its group may read or change it" in secret_problem(tmp_path / "key")


def test_new_files_are_all_written_or_none(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_bytes(b"before")
    with pytest.raises(FileExistsError):
        write_new(tmp_path, {"a/b/c": b"1", "kept/other": b"2", "kept/file": b"3"})
    assert [tmp_path / "kept", tmp_path / "kept" / "file"] == sorted(tmp_path.rglob("*"))
    assert b"before" == (tmp_path / "kept" / "file").read_bytes()

    write_new(tmp_path, {"a/b/c": b"1", "kept/other": b"2"})

    assert [b"1", b"2"] == [(tmp_path / each).read_bytes() for each in ("a/b/c", "kept/other")]
