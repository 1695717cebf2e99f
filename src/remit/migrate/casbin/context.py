from dataclasses import dataclass

from remit.migrate.casbin.enforcer import Enforcer
from remit.migrate.casbin.model import ModelShape
from remit.migrate.finding import Findings
from remit.migrate.options import CasbinOptions


@dataclass(frozen=True, slots=True)
class ImportContext:
    """A Casbin policy during its import: enforcer, model, options and findings."""

    enforcer: Enforcer
    shape: ModelShape
    model: str
    """The model's file name."""
    options: CasbinOptions
    findings: Findings
