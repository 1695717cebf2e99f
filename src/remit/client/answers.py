from dataclasses import dataclass
from typing import NamedTuple

from remit.core.decision import Reason
from remit.core.rows import Effect


class Asked(NamedTuple):
    """One question of a batch. `namespace` stays empty for kinds of class `tenant` and `instance`."""

    principal: str
    action: str
    kind: str
    namespace: str = ""
    resource_id: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server answered."""

    effect: Effect
    reason: Reason
    decision_id: str
    """UUIDv7 of the audit record."""
    revision: str
    """The revision of the tenant's policy that decided; empty for an unknown tenant."""

    @property
    def allowed(self) -> bool:
        return self.effect is Effect.ALLOW
