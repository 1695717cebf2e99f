from collections.abc import Sequence
from math import prod
from random import Random
from typing import Any, Final

_SEED: Final = 0


def sampled(axes: Sequence[Sequence[Any]], most: int) -> tuple[list[tuple[Any, ...]], int]:
    """All combinations of one item of each axis, or `most` of them, the same each time, in order; and how many there are.

    Those that are left out are never made.
    """
    total = prod(map(len, axes))
    kept = range(total) if total <= most else sorted(Random(_SEED).sample(range(total), most))
    return [_combination(axes, index) for index in kept], total


def _combination(axes: Sequence[Sequence[Any]], index: int) -> tuple[Any, ...]:
    items = []
    for axis in reversed(axes):
        index, place = divmod(index, len(axis))
        items.append(axis[place])
    return tuple(reversed(items))
