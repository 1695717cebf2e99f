from collections.abc import Callable, Collection
from typing import Final, TypeVar

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

_ITEMS: Final = 16


class BoundedDict(dict[_Key, _Value]):
    """A dict of cached values. If the values exceed `limit`, it drops all of them.

    A hit costs as much as a hit of a dict. A hit of an `lru_cache`, which relinks neighbours, costs as much as the rest
    of a decision.
    """

    __slots__ = ("_limit", "_size", "_taken")

    def __init__(self, limit: int, size: Callable[[_Value], int] = lambda _value: 1) -> None:
        """`size` returns how much of the limit a value takes."""
        super().__init__()
        self._limit = limit
        self._size = size
        self._taken = 0

    def keep(self, key: _Key, value: _Value) -> _Value:
        size = self._size(value)
        if self._taken + size > self._limit:
            self.clear()
            self._taken = 0
        # If two threads make the same value, both count it: the dict then drops all values a little early.
        self._taken += size
        self[key] = value
        return value


class BoundedMemo(BoundedDict[_Key, _Value]):
    """Makes missing values."""

    __slots__ = ("_make",)

    def __init__(
        self, limit: int, make: Callable[[_Key], _Value], size: Callable[[_Value], int] = lambda _value: 1
    ) -> None:
        super().__init__(limit, size)
        self._make = make

    def __missing__(self, key: _Key) -> _Value:
        return self.keep(key, self._make(key))


def by_items(value: Collection[object]) -> int:
    """The size of a collection: one, plus one for each further 16 items (about a kilobyte)."""
    return 1 + len(value) // _ITEMS
