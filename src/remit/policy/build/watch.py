import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Final

import watchfiles

from remit.policy.read.tree import GIT, directories

_GLANCE_MS: Final = 500
"""Interval of the check that the directory is still the one of that name."""
_AGAIN_S: Final = 1.0
"""Pause before a failed watch starts again."""
_REST: Final = 100
"""Without events, at most one part in so many of the time is for reading the directory: there may be thousands of folders."""
_LONGEST_REST: Final = 10
_LONGEST_UNREST: Final = 10
"""If changes continue, yields after this many settle times."""

_log = logging.getLogger("remit.policy")


def changes(directory: Path, settle_s: float, every_s: float, stop: Event) -> Iterator[None]:
    """Yields when the directory may have changed, until `stop` is set:

    - at the start;
    - when something below the directory has changed, and then nothing for `settle_s`;
    - when the directory disappears, comes back or is replaced;
    - every `every_s`, for file systems that report no changes; up to ten times less often, so that what follows takes at
      most a hundredth of the time.

    If the system's watch fails (a file name that is not UTF-8 is enough), it restarts after a pause and yields at once.
    """
    reported = ""
    while not stop.is_set():
        place = _place(directory)
        yield
        if place is None:
            while not stop.wait(_GLANCE_MS / 1000) and _place(directory) is None:
                pass
            # A directory that comes back comes back in pieces.
            stop.wait(settle_s)
            continue
        try:
            yield from _watched(directory, place, settle_s, every_s, stop)
        except (OSError, RuntimeError, ValueError) as error:
            pause_s = min(_AGAIN_S, every_s)
            if str(error) != reported:
                _log.warning(
                    "the watch of %s failed and restarts; until it works, the directory is read every %g s: %s",
                    directory,
                    pause_s,
                    error,
                )
            reported = str(error)
            stop.wait(pause_s)


def _watched(directory: Path, place: tuple[int, int], settle_s: float, every_s: float, stop: Event) -> Iterator[None]:
    settle_ms = max(1, round(settle_s * 1000))
    next_look_s = -math.inf
    # Watch directories one by one: a recursive watch follows links, even one to the whole file system.
    for seen in watchfiles.watch(
        *(folder for _, folder in directories(str(directory.resolve(strict=True)))),
        recursive=False,
        watch_filter=_is_policy,
        debounce=settle_ms * _LONGEST_UNREST,
        step=settle_ms,
        stop_event=stop,
        rust_timeout=max(_GLANCE_MS, 2 * settle_ms),
        yield_on_timeout=True,
        raise_interrupt=False,
        ignore_permission_denied=True,
    ):
        # Another directory of this name, or a new one inside it, needs a new watch.
        if _place(directory) != place or any(map(_is_new_directory, seen)):
            return
        # Yield once more when the watch has begun: nothing reported changes just before.
        if seen or time.monotonic() >= next_look_s:
            began_s = time.monotonic()
            yield
            now_s = time.monotonic()
            rest_s = 0.0 if seen else min((now_s - began_s) * _REST, every_s * _LONGEST_REST)
            next_look_s = now_s + max(every_s, rest_s)


def _place(directory: Path) -> tuple[int, int] | None:
    try:
        found = directory.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_new_directory(seen: tuple[watchfiles.Change, str]) -> bool:
    change, path = seen
    return change is watchfiles.Change.added and Path(path).is_dir() and not Path(path).is_symlink()


def _is_policy(change: watchfiles.Change, path: str) -> bool:
    del change
    return GIT not in Path(path).parts
