"""Dicts and rows that never change. The next version shares what it can, so a change costs the same at any size.

A version is a base under a few layers of changes. A layer that is small beside the layer over it takes that one in.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Final, Generic, TypeVar, overload

_RATIO: Final = 16
"""A layer is more than this many times as large as the layer over it. So layers are few, and each change is copied a
few dozen times in all."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
_Row = TypeVar("_Row")
_Layer = TypeVar("_Layer", bound=Sized)


class LayeredDict(Generic[_Key, _Value]):
    """A dict under layers of later values. An empty value stands for a removed key."""

    def __init__(self, layers: Sequence[dict[_Key, _Value]]) -> None:
        """The lowest layer comes first."""
        self.layers = layers
        self._newest_first = layers[::-1]

    def get(self, key: _Key, default: _Value) -> _Value:
        for layer in self._newest_first:
            value = layer.get(key)
            if value is not None:
                return value or default
        return default

    def __contains__(self, key: _Key) -> bool:
        return next((bool(layer[key]) for layer in self._newest_first if key in layer), False)

    def __iter__(self) -> Iterator[_Key]:
        return (key for key in dict.fromkeys(chain.from_iterable(self.layers)) if key in self)


VersionedDict = dict[_Key, _Value] | LayeredDict[_Key, _Value]
"""A dict that nobody changes any more, or a later version of one."""


def with_values(versioned: VersionedDict[_Key, _Value], values: dict[_Key, _Value]) -> VersionedDict[_Key, _Value]:
    """The next version, with these values. An empty value removes its key."""
    layers = _settled([*(versioned.layers if isinstance(versioned, LayeredDict) else [versioned]), values], _over)
    return LayeredDict(layers) if len(layers) > 1 else layers[0]


def _over(lower: dict[_Key, _Value], upper: dict[_Key, _Value], lowest: bool) -> dict[_Key, _Value]:
    merged = lower | upper
    if lowest:
        for key, value in upper.items():
            if not value:
                del merged[key]
    return merged


@dataclass(frozen=True, slots=True)
class _RowLayer(Generic[_Row]):
    rows: Sequence[_Row]
    removed: frozenset[int] = frozenset()
    """The ids of removed rows. The layers below keep these rows alive."""

    def __len__(self) -> int:
        return len(self.rows) + len(self.removed)


class LayeredRows(Sequence[_Row]):
    """Rows without those that were removed, then the rows that were added. Iterates without a copy of the rows."""

    def __init__(self, layers: Sequence[_RowLayer[_Row]]) -> None:
        """The lowest layer comes first."""
        self.layers = layers

    def __iter__(self) -> Iterator[_Row]:
        for number, layer in enumerate(self.layers):
            removed = frozenset[int]().union(*(higher.removed for higher in self.layers[number + 1 :]))
            yield from (row for row in layer.rows if id(row) not in removed) if removed else layer.rows

    def __len__(self) -> int:
        return sum(len(layer.rows) - len(layer.removed) for layer in self.layers)

    @overload
    def __getitem__(self, index: int) -> _Row: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[_Row]: ...

    def __getitem__(self, index: int | slice) -> _Row | Sequence[_Row]:
        return self._copied[index]

    @cached_property
    def _copied(self) -> tuple[_Row, ...]:
        return tuple(self)

    def __reduce__(self) -> tuple[type, tuple[tuple[_Row, ...]]]:
        """Another process gets a tuple: ids mean nothing there."""
        return tuple, (tuple(self),)


def with_rows(versioned: Sequence[_Row], added: Iterable[_Row], removed: Iterable[_Row]) -> Sequence[_Row]:
    """The next version. `removed` are objects of `versioned`, none of them there twice."""
    layers = versioned.layers if isinstance(versioned, LayeredRows) else [_RowLayer(versioned)]
    layers = _settled([*layers, _RowLayer(tuple(added), frozenset(map(id, removed)))], _after)
    return LayeredRows(layers) if len(layers) > 1 else layers[0].rows


def _after(lower: _RowLayer[_Row], upper: _RowLayer[_Row], lowest: bool) -> _RowLayer[_Row]:
    rows = (*(row for row in lower.rows if id(row) not in upper.removed), *upper.rows)
    return _RowLayer(rows) if lowest else _RowLayer(rows, lower.removed | upper.removed.difference(map(id, lower.rows)))


def _settled(layers: list[_Layer], merged: Callable[[_Layer, _Layer, bool], _Layer]) -> list[_Layer]:
    """The layers with each that is too small merged with the layer over it."""
    while len(layers) > 1 and len(layers[-2]) <= _RATIO * len(layers[-1]):
        upper, lower = layers.pop(), layers.pop()
        layers.append(merged(lower, upper, not layers))
    return layers
