"""The stamps of files: whether a file may have changed since it was read."""

from collections.abc import Iterable
from pathlib import Path

FileStamps = tuple[tuple[int, ...], ...]
"""One entry a file; empty for a file that cannot be reached."""


def file_stamps(paths: Iterable[Path]) -> FileStamps:
    return tuple(_stamp(path) for path in paths)


def youngest_s(stamps: FileStamps) -> float:
    """When the last of the files changed, in seconds since the Unix epoch; 0 if none can be reached."""
    return max((max(stamp[-2:]) / 1e9 for stamp in stamps if stamp), default=0.0)


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns
