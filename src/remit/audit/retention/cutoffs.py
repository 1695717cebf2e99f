from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, and_, false, or_, true


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutoffs:
    """Times in microseconds since the Unix epoch. Older records may be deleted. Equal or newer ones stay."""

    others: int | None = None
    """The cutoff of every tenant without its own. None: nothing of those tenants is deleted."""
    of_tenant: Mapping[str, int | None] = field(default_factory=dict)

    def of(self, tenant: str) -> int | None:
        return self.of_tenant.get(tenant, self.others)

    def rule(self, tenant: str) -> str:
        """The tenant if it has its own cutoff, '' if the cutoff of the others applies."""
        return tenant if tenant in self.of_tenant else ""

    @property
    def rules(self) -> list[str]:
        own = [tenant for tenant, before_us in self.of_tenant.items() if before_us is not None]
        return own if self.others is None else ["", *own]

    @property
    def latest_us(self) -> int:
        """Nothing newer than this is deleted."""
        return max((each for each in (self.others, *self.of_tenant.values()) if each is not None), default=0)

    def older(self, tenant: ColumnElement[str], time_us: ColumnElement[int]) -> ColumnElement[bool]:
        """Matches the records that may be deleted."""
        own = [
            and_(tenant == name, time_us < before_us)
            for name, before_us in self.of_tenant.items()
            if before_us is not None
        ]
        if self.others is None:
            return or_(false(), *own)
        others = tenant.not_in(list(self.of_tenant)) if self.of_tenant else true()
        return or_(and_(others, time_us < self.others), *own)
