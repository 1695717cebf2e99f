from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class LintSeverity(StrEnum):
    """The severity of a finding, worst first."""

    ERROR = "error"
    """Somebody can gain more than the files seem to give, or the files do not load."""
    WARNING = "warning"
    """A row, role, group or resource does not do what it seems to do."""
    NOTE = "note"
    """Correct, but worth a second look."""

    def reaches(self, other: "LintSeverity") -> bool:
        """True if this is at least as bad as `other`."""
        order = list(LintSeverity)
        return order.index(self) <= order.index(other)


class RuleId(StrEnum):
    """The stable names of the rules, as used by suppressions, `--select` and `--ignore`."""

    NEVER_MATCHING = "never-matching"
    DENY_NEVER_APPLIES = "deny-never-applies"
    REDUNDANT_ROW = "redundant-row"
    UNUSED_ROLE = "unused-role"
    ROLE_NOBODY_HOLDS = "role-nobody-holds"
    GROUP_WITHOUT_MEMBERS = "group-without-members"
    WHOLE_TENANT_WILDCARD = "whole-tenant-wildcard"
    FUTURE_KINDS = "future-kinds"
    PRIVILEGE_ESCALATION = "privilege-escalation"
    INHERITED_SECRETS = "inherited-secrets"
    RESOURCE_OPENED_TOO_WIDELY = "resource-opened-too-widely"
    DEDICATED_TOO_HIGH = "dedicated-too-high"
    WANTS_A_NAMESPACE = "wants-a-namespace"
    UNKNOWN_TENANT = "unknown-tenant"
    HIDDEN_ACTION = "hidden-action"
    CLAIMED_NAMESPACE = "claimed-namespace"
    OVERLAPPING_ROUTES = "overlapping-routes"
    CATCH_ALL_ROUTE = "catch-all-route"
    ROUTE_NOBODY_MAY_USE = "route-nobody-may-use"
    RUNTIME_OPENS_NOTHING = "runtime-opens-nothing"
    SIMILAR_NAMES = "similar-names"
    UNDECIDED = "undecided"
    BAD_SUPPRESSION = "bad-suppression"
    DOES_NOT_LOAD = "does-not-load"


@dataclass(frozen=True, slots=True)
class LintRule:
    severity: LintSeverity
    summary: str


RULES: Final = {
    RuleId.NEVER_MATCHING: LintRule(LintSeverity.WARNING, "No question can match this row, or count it in a chain."),
    RuleId.DENY_NEVER_APPLIES: LintRule(LintSeverity.WARNING, "This deny takes nothing away from anybody."),
    RuleId.REDUNDANT_ROW: LintRule(LintSeverity.WARNING, "Another row of the same subject covers this row."),
    RuleId.UNUSED_ROLE: LintRule(LintSeverity.WARNING, "No g row binds or includes this role."),
    RuleId.ROLE_NOBODY_HOLDS: LintRule(
        LintSeverity.WARNING, "This role is bound or included, and nobody holds it anywhere."
    ),
    RuleId.GROUP_WITHOUT_MEMBERS: LintRule(LintSeverity.WARNING, "No user and no service is in this group."),
    RuleId.WHOLE_TENANT_WILDCARD: LintRule(
        LintSeverity.WARNING, "This row gives every action on every kind in the whole tenant."
    ),
    RuleId.FUTURE_KINDS: LintRule(LintSeverity.NOTE, "This allow takes in kinds that are declared later."),
    RuleId.PRIVILEGE_ESCALATION: LintRule(
        LintSeverity.ERROR, "This row lets somebody change their own bindings, roles or groups."
    ),
    RuleId.INHERITED_SECRETS: LintRule(
        LintSeverity.WARNING, "This row lets somebody use an ancestor's secrets from a namespace below it."
    ),
    RuleId.RESOURCE_OPENED_TOO_WIDELY: LintRule(
        LintSeverity.WARNING, "This dedicated resource is open to a tenant that does not use it."
    ),
    RuleId.DEDICATED_TOO_HIGH: LintRule(
        LintSeverity.NOTE, "This dedicated resource is set at a higher level than the namespaces that need it."
    ),
    RuleId.WANTS_A_NAMESPACE: LintRule(
        LintSeverity.NOTE,
        "Tenants that share this resource depend on one another: namespaces of one tenant may fit better.",
    ),
    RuleId.UNKNOWN_TENANT: LintRule(LintSeverity.WARNING, "This row of `_callers` names a tenant without a folder."),
    RuleId.HIDDEN_ACTION: LintRule(
        LintSeverity.WARNING, "This name in authzen.yaml takes the place of an action with the same name."
    ),
    RuleId.CLAIMED_NAMESPACE: LintRule(
        LintSeverity.NOTE, "A request may say that this resource is elsewhere than the catalogue has it."
    ),
    RuleId.OVERLAPPING_ROUTES: LintRule(
        LintSeverity.NOTE, "This route and another match some of the same requests, and each matches others too."
    ),
    RuleId.CATCH_ALL_ROUTE: LintRule(
        LintSeverity.WARNING, "This route decides other spellings of a narrower route's path, by another question."
    ),
    RuleId.ROUTE_NOBODY_MAY_USE: LintRule(
        LintSeverity.WARNING, "No row allows anybody what this route asks, so each request is denied."
    ),
    RuleId.RUNTIME_OPENS_NOTHING: LintRule(
        LintSeverity.WARNING, "This name under `runtime` matches no role or group that the files name."
    ),
    RuleId.SIMILAR_NAMES: LintRule(LintSeverity.NOTE, "This name differs from another only in case or by one letter."),
    RuleId.UNDECIDED: LintRule(
        LintSeverity.WARNING, "The chains from here have too many scopes to judge who holds what."
    ),
    RuleId.BAD_SUPPRESSION: LintRule(
        LintSeverity.WARNING, "A suppression that is malformed, gives no reason, or suppresses nothing."
    ),
    RuleId.DOES_NOT_LOAD: LintRule(LintSeverity.ERROR, "The loader refuses this."),
}


@dataclass(frozen=True, slots=True, order=True)
class LintFinding:
    """A finding of one rule at one place. `file` is relative to the policy directory. `line` and `column` are 1-based;
    0 means the whole file or line."""

    file: str
    line: int
    column: int
    rule: RuleId
    message: str

    @property
    def severity(self) -> LintSeverity:
        return RULES[self.rule].severity

    @property
    def place(self) -> str:
        if not self.line:
            return self.file
        return f"{self.file}:{self.line}:{self.column}" if self.column else f"{self.file}:{self.line}"
