"""Until when records of which tenant may go."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, and_, false, or_, true


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutoffs:
    """Times in microseconds since the Unix epoch: what is older may go, what is of that moment or newer stays."""

    others: int | None = None
    """Of every tenant that has none of its own; None: nothing of theirs goes."""
    of_tenant: Mapping[str, int | None] = field(default_factory=dict)

    def of(self, tenant: str) -> int | None:
        return self.of_tenant.get(tenant, self.others)

    def rule(self, tenant: str) -> str:
        """The tenant where it has a cutoff of its own, '' where that of the others counts."""
        return tenant if tenant in self.of_tenant else ""

    @property
    def rules(self) -> list[str]:
        own = [tenant for tenant, before_us in self.of_tenant.items() if before_us is not None]
        return own if self.others is None else ["", *own]

    @property
    def latest_us(self) -> int:
        """Nothing that is newer goes."""
        return max((each for each in (self.others, *self.of_tenant.values()) if each is not None), default=0)

    def older(self, tenant: ColumnElement[str], time_us: ColumnElement[int]) -> ColumnElement[bool]:
        """Holds for what may go."""
        own = [
            and_(tenant == name, time_us < before_us)
            for name, before_us in self.of_tenant.items()
            if before_us is not None
        ]
        if self.others is None:
            return or_(false(), *own)
        others = tenant.not_in(list(self.of_tenant)) if self.of_tenant else true()
        return or_(and_(others, time_us < self.others), *own)
