from dataclasses import dataclass

from remit.policy.exchange.enforcer import Enforcer
from remit.policy.exchange.finding import Findings
from remit.policy.exchange.options import CasbinOptions
from remit.policy.exchange.shape import Shape


@dataclass(frozen=True, slots=True)
class Origin:
    """The Casbin policy on its way here: what decides it, what it is made of, and what was found in it."""

    enforcer: Enforcer
    shape: Shape
    model: str
    """The model's file name."""
    options: CasbinOptions
    findings: Findings
