from collections.abc import Sequence
from math import prod
from random import Random
from typing import Any, Final

_SEED: Final = 0


def sampled(axes: Sequence[Sequence[Any]], most: int) -> tuple[list[tuple[Any, ...]], int]:
    """Combinations of one item per axis, in order, and their total number.

    Returns all of them, or a sample of `most`, the same each time. Combinations outside the sample are never built.
    """
    total = prod(map(len, axes))
    indexes = range(total) if total <= most else sorted(Random(_SEED).sample(range(total), most))
    return [_combination(axes, index) for index in indexes], total


def _combination(axes: Sequence[Sequence[Any]], index: int) -> tuple[Any, ...]:
    items = []
    for axis in reversed(axes):
        index, place = divmod(index, len(axis))
        items.append(axis[place])
    return tuple(reversed(items))
