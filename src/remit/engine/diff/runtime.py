"""What may be granted at run time that could not be, and what no more."""

from collections.abc import Iterator, Sequence
from typing import Final

from remit.core.runtime import Runtime, stands_for
from remit.engine.diff.change import Direction, RuntimeChange
from remit.engine.pattern_cover import covered

_CLOSED: Final = Runtime()
_UNITS: Final = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


def runtime_changes(old: Runtime | None, new: Runtime | None) -> tuple[RuntimeChange, ...]:
    """Compares the key `runtime` of two policies; None for none. A key that lets more be granted is a gain."""
    before, after = old or _CLOSED, new or _CLOSED
    found = [*_opened(Direction.GAIN, before, after), *_opened(Direction.LOSS, after, before)]
    if old is not None and new is not None and old.max_ttl_s != new.max_ttl_s:
        shorter = new.max_ttl_s is not None and (old.max_ttl_s is None or new.max_ttl_s < old.max_ttl_s)
        direction = Direction.LOSS if shorter else Direction.GAIN
        found.append(RuntimeChange(direction, "max_ttl", (_life(new.max_ttl_s),)))
    return tuple(sorted(found, key=lambda each: each.direction))


def _opened(direction: Direction, closed: Runtime, opened: Runtime) -> Iterator[RuntimeChange]:
    """What `opened` lets be granted and `closed` does not."""
    scopes = [each.text for each in opened.scopes if not covered(each, closed.scopes)]
    suspend = [opened.suspend] if opened.suspend is not None and opened.suspend != closed.suspend else []
    changes: dict[str, Sequence[str]] = {
        "roles": _beyond(opened.roles, closed.roles),
        "groups": _beyond(opened.groups, closed.groups),
        "scopes": scopes,
        "suspend": suspend,
    }
    for key, values in changes.items():
        if values:
            yield RuntimeChange(direction, key, tuple(values))


def _beyond(names: Sequence[str], known: Sequence[str]) -> list[str]:
    return [name for name in names if not any(stands_for(each, name) for each in known)]


def _life(seconds: int | None) -> str:
    """As tenant.yaml has it; '' for one without an end."""
    text, left = "", seconds or 0
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        text += f"{count}{unit}" if count else ""
    return text
