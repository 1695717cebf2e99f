from collections.abc import Callable, Collection
from typing import Final, TypeVar

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

_ITEMS: Final = 16


class BoundedMemo(dict[_Key, _Value]):
    """A dict that makes and caches missing values. If the values exceed `limit`, it drops all of them.

    A hit costs as much as a hit of a dict. A hit of an `lru_cache`, which relinks neighbours, costs as much as the rest
    of a decision.
    """

    __slots__ = ("_limit", "_make", "_size", "_taken")

    def __init__(
        self, limit: int, make: Callable[[_Key], _Value], size: Callable[[_Value], int] = lambda _value: 1
    ) -> None:
        """`size` returns how much of the limit a value takes."""
        super().__init__()
        self._limit = limit
        self._make = make
        self._size = size
        self._taken = 0

    def __missing__(self, key: _Key) -> _Value:
        made = self._make(key)
        size = self._size(made)
        if self._taken + size > self._limit:
            self.clear()
            self._taken = 0
        # If two threads make the same value, both count it: the memo then drops all values a little early.
        self._taken += size
        self[key] = made
        return made


def by_items(value: Collection[object]) -> int:
    """The size of a collection: one, plus one for each further 16 items (about a kilobyte)."""
    return 1 + len(value) // _ITEMS
