"""Casbin over the same rows: the second opinion. With policy/exchange/enforcer.py the only file that
imports casbin."""

from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

import casbin
from casbin.persist import load_policy_line

from remit.core.errors import InvalidNameError, RemitError
from remit.core.names import Namespace
from remit.core.patterns import NamespacePattern
from remit.core.policy import Policy
from remit.core.question import Question, ReachQuestion

ACCESS_MODEL: Final = files("remit.engine").joinpath("access.conf").read_text(encoding="utf-8")
REACH_MODEL: Final = files("remit.engine").joinpath("reach.conf").read_text(encoding="utf-8")


class RegistrationError(RemitError):
    """Casbin declined a function that the models need."""


def one_of(value: str, choice: str) -> bool:
    """Whether `value` is one of `A|B|C`, or `choice` is `*`."""
    return choice == "*" or value in choice.split("|")


def within(namespace: str, pattern: str) -> bool:
    """Whether a namespace (the empty text is the tenant itself) is in a pattern. A text that is no pattern holds
    nothing: rows are for `remit validate` to refuse, and a function that raises would be swallowed by Casbin."""
    parsed = _pattern(pattern)
    return parsed is not None and parsed.contains(Namespace(namespace))


def scope_match(request: str, row: str) -> bool:
    """Casbin's domain matching for `g`: `TENANT/NAMESPACE` asked, `TENANT` or `TENANT/PATTERN` in the row."""
    tenant, _, namespace = request.partition("/")
    row_tenant, slash, pattern = row.partition("/")
    return tenant == row_tenant and (not slash or within(namespace, pattern))


@lru_cache(65_536)
def _pattern(text: str) -> NamespacePattern | None:
    try:
        return NamespacePattern.parse(text)
    except InvalidNameError:
        return None


def register(enforcer: Any) -> None:
    """Give a Casbin enforcer, made with access.conf or reach.conf, the functions these models use.

    All of them or none: raises RegistrationError, with nothing added, where Casbin declines. With some of them missing
    a deny can vanish.
    """
    # First, because it is the one that Casbin can decline: only False says so (SyncedEnforcer forgets its `return`).
    if "g" in enforcer.get_model().model and enforcer.add_named_domain_matching_func("g", scope_match) is False:
        raise RegistrationError("casbin declined `scope_match` as the domain matching function of `g`")
    enforcer.add_function("one_of", one_of)
    enforcer.add_function("within", within)


class CasbinOracle:
    """Casbin's own answers over a policy's rows. For one thread, and for what the doors let through: Casbin knows
    neither classes nor access lists.

    pycasbin keeps a role graph for each namespace asked about and is quadratic in the users of one: keep it to policies
    of some thousand rows.
    """

    def __init__(self, policy: Policy) -> None:
        self._tenant = policy.tenant
        self._access = _enforcer(
            ACCESS_MODEL, [*(rule.text for rule in policy.rules), *(link.text for link in policy.links)]
        )
        self._reach = _enforcer(REACH_MODEL, [row.text for row in policy.reach])

    def allows(self, question: Question) -> bool:
        principal, action, kind, namespace = question
        return bool(self._access.enforce(principal, self._tenant, namespace, kind, action))

    def reaches(self, question: ReachQuestion) -> bool:
        return bool(self._reach.enforce(self._tenant, question.caller, question.owner, question.relation))


def _enforcer(model_text: str, rows: list[str]) -> Any:
    enforcer = casbin.Enforcer(casbin.Enforcer.new_model(text=model_text))
    register(enforcer)
    model = enforcer.get_model()
    for row in rows:
        load_policy_line(row, model)
    if "g" in model.model:
        enforcer.build_role_links()
    return enforcer
