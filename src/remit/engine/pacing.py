from collections.abc import Iterable
from typing import Protocol, TypeVar

_Item = TypeVar("_Item")


class Pacing(Protocol):
    """The pacing of a walk over a snapshot's rows: yields the items, and may pause between them."""

    def __call__(self, items: Iterable[_Item], /) -> Iterable[_Item]: ...


def unpaced(items: Iterable[_Item], /) -> Iterable[_Item]:
    return items
