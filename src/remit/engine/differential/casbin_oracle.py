"""The oracle: Casbin's answers over the same rows. Only this module and `remit.migrate.casbin` import casbin."""

from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

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
    """True if `value` is one of `A|B|C`, or `choice` is `*`."""
    return choice == "*" or value in choice.split("|")


def within(namespace: str, pattern: str) -> bool:
    """True if a namespace is in a pattern; the empty text is the tenant itself. An invalid pattern covers nothing:
    `remit validate` rejects such rows, and Casbin would swallow an exception from here."""
    parsed = _pattern(pattern)
    return parsed is not None and parsed.contains(Namespace(namespace))


def scope_match(request: str, row: str) -> bool:
    """Casbin's domain matching for `g`: the request has `TENANT/NAMESPACE`, the row `TENANT` or `TENANT/PATTERN`."""
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
    """Adds the functions of access.conf and reach.conf to a Casbin enforcer that was made with one of them.

    Adds all or none: raises RegistrationError and adds nothing if Casbin declines. If one is missing, a deny can
    vanish.
    """
    # Comes first because Casbin can decline it. Only False means declined: SyncedEnforcer forgets its `return`.
    if "g" in enforcer.get_model().model and enforcer.add_named_domain_matching_func("g", scope_match) is False:
        raise RegistrationError("casbin declined `scope_match` as the domain matching function of `g`")
    enforcer.add_function("one_of", one_of)
    enforcer.add_function("within", within)


class CasbinOracle:
    """Casbin's answers over a policy's rows. For one thread. Casbin knows neither classes nor access lists, so ask only
    questions that rows decide.

    pycasbin keeps a role graph for each namespace that it was asked about, and takes quadratic time in the users of
    one. Use it for policies of some thousand rows.
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
    # Casbin takes long to import, and few commands ask it.
    import casbin  # noqa: PLC0415
    from casbin.persist import load_policy_line  # noqa: PLC0415

    enforcer = casbin.Enforcer(casbin.Enforcer.new_model(text=model_text))
    register(enforcer)
    model = enforcer.get_model()
    for row in rows:
        load_policy_line(row, model)
    if "g" in model.model:
        enforcer.build_role_links()
    return enforcer
