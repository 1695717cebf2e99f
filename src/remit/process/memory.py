import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

_MMAP_THRESHOLD: Final = -3
"""M_MMAP_THRESHOLD of glibc's malloc.h."""
_LARGE_BYTES: Final = 1 << 20


def give_back_large_blocks() -> None:
    """From now on this process gives a block of a mebibyte or more back to the system as soon as it is free.

    By default glibc keeps such blocks once some have been freed (mallopt(3), M_MMAP_THRESHOLD): a third of what a process
    takes up after it has read a million rows. Where there is no glibc nothing changes.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)


@contextmanager
def without_collector() -> Iterator[None]:
    """For a block that makes millions of objects and leaves no garbage: the collector would walk them again and again, a third
    of the block's time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
