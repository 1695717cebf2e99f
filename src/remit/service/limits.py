"""Limits of calls: how many questions a second a caller or a tenant may ask, and how many calls it has in flight."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

DEFAULT: Final = "default"
"""The entry for every name without one of its own."""
_NAMES: Final = 8_192
"""Names in use at a time. Callers may invent names."""
_ROUNDING: Final = 1e-6
"""Questions. Without it a call that comes exactly when it is admitted could be refused again."""


@dataclass(frozen=True, slots=True)
class CallLimit:
    """The limit of one caller, or of one tenant over all callers. Raises ValueError if a number is not positive."""

    rate: float | None = None
    """Questions a second; None for no limit."""
    burst: float | None = None
    """Questions at once after a pause; None for the questions of one second, and at least one."""
    in_flight: int | None = None
    """Calls in flight; None for no limit."""

    def __post_init__(self) -> None:
        for name in ("rate", "burst", "in_flight"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"`{name}` is {value}: expected more than 0")
        if self.burst is not None and self.rate is None:
            raise ValueError("`burst` needs a `rate`")

    @property
    def at_once(self) -> float:
        """Questions at once after a pause."""
        return self.burst if self.burst is not None else max(self.rate or 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class CallLimits:
    """The limits in force, by name. A name without an entry has the limit of `DEFAULT`, if there is one."""

    callers: Mapping[str, CallLimit] = field(default_factory=dict)
    """By principal."""
    tenants: Mapping[str, CallLimit] = field(default_factory=dict)


def limit_of(name: str, limits: Mapping[str, CallLimit]) -> CallLimit | None:
    """The limit of a name among limits of its sort; None for no limit."""
    return (limits.get(name) or limits.get(DEFAULT)) if limits else None


@dataclass(slots=True)
class _Use:
    """What one name uses of its limit."""

    level: float = 0.0
    """Questions that `rate` has not given back yet."""
    at_s: float = -math.inf
    in_flight: int = 0


class UsageMeter:
    """What each name uses of its limit.

    The rate is the generic cell rate algorithm in its form with a level: questions raise the level, time lowers it by
    `rate` a second, and a call is admitted if the level stays within `burst`. A call of more questions than `burst` is
    admitted at level 0, and the next one waits for all of its questions.
    """

    def __init__(self, clock_s: Callable[[], float], names: int = _NAMES) -> None:
        """Knows at most `names` names, calls in flight apart. Past that it forgets the half not used for longest."""
        self._clock_s = clock_s
        self._names = names
        self._uses: dict[str, _Use] = {}
        self._mutex = Lock()

    def __len__(self) -> int:
        return len(self._uses)

    def charge(self, name: str, limit: CallLimit, questions: float) -> float:
        """Charges the questions and returns 0; or charges nothing, and returns the seconds until it would."""
        if limit.rate is None:
            return 0.0
        with self._mutex:
            now_s = self._clock_s()
            use = self._use(name)
            use.level = max(use.level - limit.rate * (now_s - use.at_s), 0.0)
            use.at_s = now_s
            burst = limit.at_once
            excess = use.level + min(questions, burst) - burst
            if excess > _ROUNDING:
                return excess / limit.rate
            use.level += questions
            return 0.0

    def begin(self, name: str, limit: CallLimit) -> bool:
        """Counts a call of this name. False if the name already has all the calls that it may have."""
        with self._mutex:
            use = self._use(name)
            if limit.in_flight is not None and use.in_flight >= limit.in_flight:
                return False
            use.in_flight += 1
            return True

    def end(self, name: str) -> None:
        """Ends a call that `begin` counted."""
        with self._mutex:
            self._uses[name].in_flight -= 1

    def _use(self, name: str) -> _Use:
        use = self._uses.get(name)
        if use is None:
            if len(self._uses) >= self._names:
                self._forget()
            use = self._uses[name] = _Use()
        return use

    def _forget(self) -> None:
        idle = sorted((name for name, use in self._uses.items() if not use.in_flight), key=self._last_used_s)
        for name in idle[: max(len(idle) // 2, 1)]:
            del self._uses[name]

    def _last_used_s(self, name: str) -> float:
        return self._uses[name].at_s
