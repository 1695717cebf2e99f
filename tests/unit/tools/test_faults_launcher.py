import shutil
from pathlib import Path

from tools.faults.launcher import _sizes


def test_files_may_vanish_while_their_sizes_are_read(tmp_path: Path) -> None:
    """The server goes on, and removes old releases."""
    for name in ("a/one", "a/two", "b/one"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"123")
    assert [3, 3, 3] == [size for _, size in _sizes(tmp_path)]

    found = _sizes(tmp_path)
    next(found)
    for folder in ("a", "b"):
        shutil.rmtree(tmp_path / folder)
    assert [] == [*found]
