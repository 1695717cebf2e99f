from collections.abc import Callable
from typing import TypeVar

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Kept(dict[_Key, _Value]):
    """What is made of a key at the first time, kept for the next: of `limit` keys, then all is dropped.

    A hit costs what one of a dict costs. One of an `lru_cache`, which relinks its neighbours, costs as much as the rest
    of a decision.
    """

    __slots__ = ("_limit", "_make")

    def __init__(self, limit: int, make: Callable[[_Key], _Value]) -> None:
        super().__init__()
        self._limit = limit
        self._make = make

    def __missing__(self, key: _Key) -> _Value:
        made = self._make(key)
        if len(self) >= self._limit:
            self.clear()
        self[key] = made
        return made
