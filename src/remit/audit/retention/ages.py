"""Parses retention ages of decisions: `90d, globex=400d, initech=forever`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from remit.audit.retention.cutoffs import Cutoffs
from remit.core.ages import parse_age
from remit.core.errors import InvalidNameError
from remit.core.names import parse_tenant

FOREVER: Final = "forever"
_US_PER_S: Final = 1_000_000


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
