from collections.abc import Iterable
from typing import Protocol, TypeVar

_Item = TypeVar("_Item")


class Pace(Protocol):
    """How fast a snapshot's rows are walked: hands the items on, resting between them as it sees fit."""

    def __call__(self, items: Iterable[_Item], /) -> Iterable[_Item]: ...


def at_once(items: Iterable[_Item], /) -> Iterable[_Item]:
    return items
