"""Casbin functions, for those who run plain Casbin over remit's policy files: `remit.casbin.register(enforcer)`."""

from remit.engine.differential.casbin_oracle import (
    ACCESS_MODEL,
    REACH_MODEL,
    RegistrationError,
    one_of,
    register,
    scope_match,
    within,
)

__all__ = ["ACCESS_MODEL", "REACH_MODEL", "RegistrationError", "one_of", "register", "scope_match", "within"]
