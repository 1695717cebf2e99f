"""Rows of `_callers` for what callers asked: of its roles the fewest that cover it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from remit.core.caller_actions import INSTANCE_KIND, TENANT_KIND, CallerAction, actions_in, asked_about
from remit.core.decision import Reason
from remit.core.names import CALLERS, INSTANCE, Principal, Subject, Tenant, Word
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.core.policy import Policy
from remit.core.question import Question
from remit.core.rows import Link
from remit.service.caller_usage import AskedRight, CallerUsage, Rights
from remit.service.callers import EVERY_TENANT

_ROLE: Final = "role:"


class Proposal(NamedTuple):
    """The rows that one caller needs about one tenant."""

    caller: str
    tenant: str
    """'' for all tenants at once."""
    rows: tuple[str, ...]
    used: tuple[CallerAction, ...]
    """What the rows are for: the caller asked it, and nothing gives it yet."""
    more: tuple[CallerAction, ...]
    """What the rows give beyond, and the caller never asked."""


class Denied(NamedTuple):
    """A deny takes from a caller what it asked: no row can give it."""

    asked: AskedRight
    rule: str
    place: str


@dataclass(slots=True)
class Proposals:
    found: list[Proposal] = field(default_factory=list)
    denied: list[Denied] = field(default_factory=list)
    granted: int = 0
    """Rights that were used and that the policy gives already."""


def propose(policy: Policy, usage: CallerUsage) -> Proposals:
    """The rows that the used rights need beyond those of `policy`, in the order of callers and tenants.

    Of the sets of roles that are as small, the one that gives the least beyond. A p row stands for what no role gives,
    and for the instance: a role on all of `_callers` would give every tenant too.
    """
    by_caller: defaultdict[str, defaultdict[str, list[CallerAction]]] = defaultdict(lambda: defaultdict(list))
    for asked in sorted(usage.asked, key=lambda asked: asked.order):
        by_caller[asked.caller][asked.tenant].append(asked.action)
    proposals = Proposals()
    rights, roles = Rights(policy), _Roles(policy)
    for caller, by_tenant in by_caller.items():
        caller_policy, held = policy, rights
        # All tenants at once come first: what gives that gives the rest too.
        for tenant, used in by_tenant.items():
            before = held.mask(caller, tenant)
            ungranted = [AskedRight(caller, tenant, action) for action in used if not before & action.bit]
            proposals.granted += len(used) - len(ungranted)
            wanted = _undenied(held, ungranted, proposals)
            rows: list[str] = []
            if wanted and tenant != INSTANCE:
                bound = [_binding(caller, role, tenant) for role in roles.fewest(tenant, _mask(wanted))]
                caller_policy = replace(caller_policy, links=(*caller_policy.links, *bound))
                held = Rights(caller_policy)
                rows += [link.text for link in bound]
            after = held.mask(caller, tenant)
            # A role may deny what another gives.
            missing = [AskedRight(caller, tenant, action) for action in wanted if not after & action.bit]
            lacking = _undenied(held, missing, proposals)
            if lacking:
                rows.append(_rule_text(caller, tenant, lacking))
            if rows:
                more = actions_in(after & ~before & ~_mask(wanted))
                proposals.found.append(Proposal(caller, tenant, tuple(rows), tuple(wanted), tuple(more)))
    return proposals


def _mask(actions: Iterable[CallerAction]) -> int:
    return sum(action.bit for action in actions)


def _undenied(rights: Rights, wanted: Iterable[AskedRight], proposals: Proposals) -> list[CallerAction]:
    """The wanted actions without those that a row denies, which are added to the proposals."""
    denied = {asked: _denied(rights, asked) for asked in wanted}
    proposals.denied += [each for each in denied.values() if each is not None]
    return [asked.action for asked, by in denied.items() if by is None]


class _Roles:
    """What each role of a policy gives, to whom holds nothing else."""

    def __init__(self, policy: Policy) -> None:
        rules = tuple(rule for rule in policy.rules if rule.subject.startswith(_ROLE))
        inclusions = tuple(link for link in policy.links if link.member.startswith(_ROLE))
        names = sorted({rule.subject for rule in rules} | {link.member for link in inclusions})
        self._holders = {role: f"service:{number}" for number, role in enumerate(names)}
        bindings = (_binding(holder, role, EVERY_TENANT) for role, holder in self._holders.items())
        self._rights = Rights(replace(policy, rules=rules, links=(*inclusions, *bindings), access=None))

    def fewest(self, tenant: str, wanted: int) -> Sequence[str]:
        """The fewest roles that give the most of what is wanted; of these, those that give the least beyond it."""
        best: dict[int, tuple[str, ...]] = {0: ()}
        for role, holder in self._holders.items():
            mask = self._rights.mask(holder, tenant)
            if mask & wanted:
                for union, names in [*best.items()]:
                    longer = (*names, role)
                    known = best.get(union | mask)
                    if known is None or (len(longer), longer) < (len(known), known):
                        best[union | mask] = longer

        def rank(union: int) -> tuple[int, int, int, tuple[str, ...]]:
            names = best[union]
            return -(union & wanted).bit_count(), len(names), (union & ~wanted).bit_count(), names

        return best[min(best, key=rank)]


def _binding(caller: str, role: str, tenant: str) -> Link:
    scope = NamespacePattern.parse(tenant) if tenant else EVERYWHERE
    return Link(Subject(caller), Subject(role), CALLERS, scope, "", 0)


def _rule_text(caller: str, tenant: str, actions: Sequence[CallerAction]) -> str:
    kind, namespace = asked_about(Tenant(tenant) if tenant else None)
    where = namespace or EVERYWHERE.text
    kinds = f"{TENANT_KIND}|{INSTANCE_KIND}" if tenant == EVERY_TENANT else kind
    return f"p, {caller}, {CALLERS}, {where}, {kinds}, {'|'.join(actions)}, allow"


def _denied(rights: Rights, asked: AskedRight) -> Denied | None:
    where: Sequence[str] = rights.everywhere if asked.tenant == EVERY_TENANT else (asked.tenant,)
    for tenant in where:
        kind, namespace = asked_about(Tenant(tenant) if tenant else None)
        decision = rights.snapshot.decide(Question(Principal(asked.caller), Word(asked.action), kind, namespace))
        if decision.reason is Reason.DENIED_BY_RULE and decision.rule is not None:
            return Denied(asked, decision.rule.text, decision.rule.place)
    return None
