from pathlib import Path

import pytest

from remit.console import static_files
from remit.console.static_files import StoredFiles


def test_path_of_scripts_and_styles_changes_with_their_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static_files, "files", lambda _: tmp_path)
    folder = tmp_path / "static"
    folder.mkdir()

    def path_with(**content: str) -> str:
        for name, text in content.items():
            (folder / name).write_text(text)
        return StoredFiles().path

    first = path_with(a="1", b="2")
    paths = [first, path_with(a="12", b=""), path_with(a="", b="12"), path_with(c="")]
    assert len(paths) == len(set(paths))
    (folder / "c").unlink()
    assert first == path_with(a="1", b="2")
