from collections.abc import Iterable
from typing import Protocol, TypeVar

_Item = TypeVar("_Item")


class Pacing(Protocol):
    """The speed of a walk over a snapshot's rows: passes the items on, and may pause between items."""

    def __call__(self, items: Iterable[_Item], /) -> Iterable[_Item]: ...


def unpaced(items: Iterable[_Item], /) -> Iterable[_Item]:
    return items
