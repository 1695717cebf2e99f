"""Parses retention ages of decisions: `90d, globex=400d, initech=forever`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from remit.audit.retention.cutoffs import Cutoffs
from remit.core.errors import InvalidNameError
from remit.core.names import parse_tenant

FOREVER: Final = "forever"
_SECONDS: Final = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
# Each unit once, the largest first.
_AGE: Final = re.compile("".join(rf"(?:(?P<{unit}>\d{{1,6}}){unit})?" for unit in _SECONDS)).fullmatch
_US_PER_S: Final = 1_000_000


def parse_age(text: str) -> int | None:
    """Returns seconds: `90m` is 5400, `1d12h` is 129600. Returns None if the text is no age."""
    found = _AGE(text) if text and text.isascii() else None
    return None if found is None else sum(int(found[unit] or 0) * _SECONDS[unit] for unit in _SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Retention ages in seconds. None keeps records forever."""

    others: int | None = None
    """The age for every tenant without its own."""
    of_tenant: Mapping[str, int | None] = field(default_factory=dict)

    def cutoffs(self, now_us: int) -> Cutoffs:
        def before_us(age_s: int | None) -> int | None:
            return None if age_s is None else now_us - age_s * _US_PER_S

        own = {tenant: before_us(age_s) for tenant, age_s in self.of_tenant.items()}
        return Cutoffs(others=before_us(self.others), of_tenant=own)


def parse_retention(text: str) -> Retention:
    """Raises ValueError if the text is malformed. The error says what is wrong."""
    ages: dict[str, int | None] = {}
    for entry in (each.strip() for each in text.split(",")):
        if not entry:
            raise ValueError(f"`{text}` has nothing where an age is expected, such as `90d` or `TENANT=90d`")
        tenant, has_tenant, age = (each.strip() for each in entry.rpartition("="))
        if has_tenant:
            try:
                parse_tenant(tenant)
            except InvalidNameError as error:
                raise ValueError(f"`{entry}`: {error}") from None
        if tenant in ages:
            whose = f"tenant `{tenant}`" if tenant else "all others"
            raise ValueError(f"`{entry}` is a second age for {whose}: expected one")
        ages[tenant] = _age(entry, age)
    return Retention(others=ages.pop("", None), of_tenant=ages)


def _age(entry: str, text: str) -> int | None:
    if text == FOREVER:
        return None
    age_s = parse_age(text)
    if not age_s:
        raise ValueError(f"`{entry}` names no age: expected one such as `90d`, `36h` or `{FOREVER}`, or `TENANT=90d`")
    return age_s
