"""Files and folders that nobody else may read or change, whatever the process's umask is."""

import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_PRIVATE_FOLDER: Final = 0o700
_PRIVATE_FILE: Final = 0o600


def cause_of(error: OSError | UnicodeError) -> str:
    """Why a file cannot be read, for messages that name the file."""
    return getattr(error, "strerror", None) or str(error)


def make_private(folder: Path) -> None:
    """Makes the folder and its missing parents, accessible to the owner only. Raises OSError.

    A folder that exists stays as it is.
    """
    for each in (*reversed(folder.parents), folder):
        if not each.exists():
            each.mkdir(_PRIVATE_FOLDER, exist_ok=True)
    if not folder.is_dir():
        folder.mkdir(_PRIVATE_FOLDER)


def open_private(path: Path) -> int:
    """A descriptor to read and write the file. Creates a missing file for the owner only. Raises OSError."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE)


def write_whole(path: Path, content: bytes, *, synced: bool = True) -> None:
    """Writes the file whole or not at all, even if the power fails; without `synced`, what is there after that may be older
    or damaged. Raises OSError."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            if synced:
                os.fsync(file.fileno())
            os.replace(file.name, path)  # noqa: PTH105 (the name is a text)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    if synced:
        sync_folder(path.parent)


def write_new(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes all of these files, by path below the folder, or none. Makes missing folders. Raises OSError.

    A file that exists stays as it is and raises FileExistsError. Files are written in the order of the mapping.
    """
    made: list[Path] = []
    try:
        for path, content in files.items():
            file = folder / path
            for parent in reversed(file.parents):
                if not parent.exists():
                    parent.mkdir()
                    made.append(parent)
            with file.open("xb") as opened:
                made.append(file)
                opened.write(content)
    except BaseException:
        for each in reversed(made):
            if each.is_dir():
                each.rmdir()
            else:
                each.unlink()
        raise


def sync_folder(folder: Path) -> None:
    """Ensures that the folder's entries are on disk. Raises OSError."""
    sync_file(folder)


def sync_file(path: Path) -> None:
    """Ensures that the file's content is on disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def writable_by_others(path: Path) -> bool:
    """True if the group or everybody may change the file. Raises OSError."""
    return bool(path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def secret_problem(path: Path) -> str:
    """Why a file does not protect a secret, and what to do; '' if it does. Raises OSError.

    Only the owner may read it. If root owns the file, its group may too: so an administrator or an orchestrator gives a
    secret to a service.
    """
    found = path.stat()
    mode = stat.S_IMODE(found.st_mode)
    allowed = 0o740 if found.st_uid == 0 else 0o700
    if not mode & ~allowed & 0o777:
        return ""
    whose = "everybody" if mode & stat.S_IRWXO else "its group"
    return (
        f"`{path}` holds a secret and {whose} may read or change it (mode {mode:04o}): expected 0600 or less, or 0640 or "
        f"less for a file that root owns; run `chmod {'u=rw,g=r,o=' if found.st_uid == 0 else 'u=rw,go='} {path}`"
    )
