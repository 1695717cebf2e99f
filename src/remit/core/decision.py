from dataclasses import dataclass, field

from remit.core.rows import Effect, ReachRule, Rule
from remit.core.str_enum import StrEnum


class Reason(StrEnum):
    """The reason of a decision, in order of precedence (policy-language section 5)."""

    UNKNOWN_TENANT = "UNKNOWN_TENANT"
    NO_ROUTE = "NO_ROUTE"
    UNKNOWN_KIND = "UNKNOWN_KIND"
    UNKNOWN_ACTION = "UNKNOWN_ACTION"
    UNKNOWN_RELATION = "UNKNOWN_RELATION"
    WRONG_CLASS = "WRONG_CLASS"
    NO_ACCESS = "NO_ACCESS"
    SAME_NAMESPACE = "SAME_NAMESPACE"
    DENIED_BY_RULE = "DENIED_BY_RULE"
    ALLOWED_BY_RULE = "ALLOWED_BY_RULE"
    INHERITED = "INHERITED"
    OUT_OF_SCOPE = "OUT_OF_SCOPE"
    NOT_GRANTED = "NOT_GRANTED"
    NO_BINDING = "NO_BINDING"
    NO_MATCHING_RULE = "NO_MATCHING_RULE"

    @property
    def meaning(self) -> str:
        return _MEANINGS[self]


_MEANINGS = {
    Reason.UNKNOWN_TENANT: "no tenant of this name is configured",
    Reason.NO_ROUTE: "no route of the gateway matches the request",
    Reason.UNKNOWN_KIND: "the vocabulary declares no such kind",
    Reason.UNKNOWN_ACTION: "the kind has no such action",
    Reason.UNKNOWN_RELATION: "the vocabulary declares no such relation",
    Reason.WRONG_CLASS: "the kind lives on the other side of the instance wall",
    Reason.NO_ACCESS: "the tenant has an access list and the principal is not on it",
    Reason.SAME_NAMESPACE: "a namespace may always use what it owns itself",
    Reason.DENIED_BY_RULE: "a matching rule denies",
    Reason.ALLOWED_BY_RULE: "a matching rule allows and none denies",
    Reason.INHERITED: "the relation is inherited and the owner is an ancestor of the caller",
    Reason.OUT_OF_SCOPE: "a rule the principal holds would allow this in another namespace",
    Reason.NOT_GRANTED: "the principal holds rules, but none for this kind and action",
    Reason.NO_BINDING: "the principal holds no rule anywhere in the tenant",
    Reason.NO_MATCHING_RULE: "no row matches and nothing is inherited",
}


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to a question of either plane: effect, reason, and the deciding rule, if one decided."""

    effect: Effect
    reason: Reason
    rule: Rule | ReachRule | None = None
    recorded: tuple[str, str, str] = field(init=False, repr=False, compare=False)
    """Effect, reason and the rule's place as plain texts: made once per rule, read for each answer."""

    def __post_init__(self) -> None:
        place = self.rule.place if self.rule is not None else ""
        object.__setattr__(self, "recorded", (self.effect.value, self.reason.value, place))

    @property
    def allowed(self) -> bool:
        return self.effect is Effect.ALLOW
