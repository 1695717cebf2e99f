from collections.abc import Iterable
from typing import Protocol, TypeVar

_Item = TypeVar("_Item")


class Pacing(Protocol):
    """How fast a snapshot's rows are walked: hands the items on, resting between them as it sees fit."""

    def __call__(self, items: Iterable[_Item], /) -> Iterable[_Item]: ...


def unpaced(items: Iterable[_Item], /) -> Iterable[_Item]:
    return items
