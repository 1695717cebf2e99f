from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from remit.core.rows import Effect


class FindingSeverity(StrEnum):
    NOTE = "note"
    """Worth knowing. The answers are the same as the original's."""
    WARNING = "warning"
    """Unsafe or ambiguous in the original, or one of its answers differs here."""
    REFUSED = "refused"
    """Cannot be translated without guessing: nothing is written."""


class FindingId(StrEnum):
    """The possible findings of an import. Each member has a severity and a meaning."""

    severity: FindingSeverity
    meaning: str

    def __new__(cls, text: str, severity: FindingSeverity = FindingSeverity.REFUSED, meaning: str = "") -> Self:
        member = str.__new__(cls, text)
        member._value_ = text
        member.severity = severity
        member.meaning = meaning
        return member

    ROW_IGNORED = (
        "row-ignored",
        FindingSeverity.WARNING,
        "Casbin drops the line in silence: unknown row type, or a byte order mark",
    )
    ROW_UNREADABLE = "row-unreadable", FindingSeverity.REFUSED, "Casbin cannot load the line, and so not the policy"
    WRONG_ARITY = (
        "wrong-arity",
        FindingSeverity.REFUSED,
        "too few or too many fields: Casbin raises, for a `p` row at each question that reaches it",
    )
    ROW_CUT = (
        "row-cut",
        FindingSeverity.WARNING,
        "a `g` row has more fields than its definition: Casbin cuts it, so that it may hold everywhere",
    )
    EFFECT_UNKNOWN = (
        "effect-unknown",
        FindingSeverity.WARNING,
        "an effect other than `allow` or `deny`: the row has none, a `Deny` denies nothing; left out",
    )
    DENY_WITHOUT_EFFECT = (
        "deny-without-effect",
        FindingSeverity.WARNING,
        "a `deny` row under an effect that only looks for allows: it denies nothing; left out",
    )
    QUOTES = (
        "quotes",
        FindingSeverity.WARNING,
        "Casbin for Python keeps quotes as part of the name, Casbin for Go strips them",
    )
    COMMENT_IN_ROW = (
        "comment-in-row",
        FindingSeverity.WARNING,
        "`#` after a row is not a comment but part of its last field",
    )
    BRACKETS = "brackets", FindingSeverity.WARNING, "brackets in a row: commas between them divide no fields"
    EMPTY_FIELD = "empty-field", FindingSeverity.WARNING, "an empty field matches an empty question only; left out"
    DUPLICATE_ROW = "duplicate-row", FindingSeverity.NOTE, "written twice: removing one leaves the right in place"
    POLICY_EMPTY = "policy-empty", FindingSeverity.WARNING, "no row that counts: everybody is denied everything"

    MODEL_UNREADABLE = "model-unreadable", FindingSeverity.REFUSED, "Casbin cannot use the model"
    UNSUPPORTED_REQUEST = (
        "unsupported-request",
        FindingSeverity.REFUSED,
        "a request other than subject, (domain,) object, action",
    )
    UNSUPPORTED_MATCHER = (
        "unsupported-matcher",
        FindingSeverity.REFUSED,
        "a matcher that is more than tests of one request field against one column each",
    )
    UNSUPPORTED_FUNCTION = (
        "unsupported-function",
        FindingSeverity.REFUSED,
        "a function that is not among `keyMatch` to `keyMatch5`, or `regexMatch` outside of actions",
    )
    ABAC = "abac", FindingSeverity.REFUSED, "`eval` or an attribute: the decision depends on data that no row holds"
    PRIORITY_EFFECT = (
        "priority-effect",
        FindingSeverity.REFUSED,
        "a priority effect with `deny` rows: the order of rows decides, here it never does",
    )
    ALLOW_BY_DEFAULT = (
        "allow-by-default",
        FindingSeverity.REFUSED,
        "an effect that allows where no row matches, an empty file included; here nothing is allowed without a row",
    )
    SECOND_DEFINITION = (
        "second-definition",
        FindingSeverity.REFUSED,
        "a second definition (`p2`, `m2`, ...): which one decides is chosen by each call",
    )
    DEFINITION_IGNORED = (
        "definition-ignored",
        FindingSeverity.WARNING,
        "a section or definition that Casbin does not read: an unknown name, or a gap in the numbering",
    )
    CONDITIONAL_ROLE = "conditional-role", FindingSeverity.REFUSED, "a role definition with conditions"
    UNUSED_ROLE_DEFINITION = (
        "unused-role-definition",
        FindingSeverity.WARNING,
        "a role definition that the matcher never asks: its rows do nothing; left out",
    )
    SUPERUSER = "superuser", FindingSeverity.WARNING, "a subject that the matcher itself lets through; it becomes a row"

    UNREGISTERED_FUNCTION = (
        "unregistered-function",
        FindingSeverity.REFUSED,
        "`*`, `/:name` or `{name}` in a `g` row, or in a column that `g` is asked about: whether it is a pattern depends on what the program registers; say so with `--match` or `--match-domains`",
    )
    PREFIX_CROSSES_SEGMENT = (
        "prefix-crosses-segment",
        FindingSeverity.REFUSED,
        "a `keyMatch` prefix that ends within a segment, so that `/prod*` covers `/prod2`; accepted: the whole segment and all below",
    )
    DOT_IS_ANY_CHARACTER = (
        "dot-is-any-character",
        FindingSeverity.REFUSED,
        "`.` in a pattern that is a regular expression: any character; accepted: a dot",
    )
    TEXT_BEHIND_STAR = "text-behind-star", FindingSeverity.WARNING, "`keyMatch` ignores all text after the first `*`"
    UNTRANSLATABLE_PATTERN = (
        "untranslatable-pattern",
        FindingSeverity.REFUSED,
        "a pattern that is not made of whole segments, or one of people or roles",
    )
    REGEX_PREFIX = (
        "regex-prefix",
        FindingSeverity.WARNING,
        "`regexMatch` is anchored at the start only: `GET` also matches `GETALL`; only declared actions are",
    )
    WILDCARD_OBJECT = "wildcard-object", FindingSeverity.WARNING, "a row for every object, future ones included"
    WILDCARD_ACTION = "wildcard-action", FindingSeverity.NOTE, "a row for every action; here, for every declared action"
    WILDCARD_DOMAIN = (
        "wildcard-domain",
        FindingSeverity.WARNING,
        "a row for every domain: copied into each tenant that is known now, not into future ones",
    )
    NEVER_ASKED = (
        "never-asked",
        FindingSeverity.WARNING,
        "`*` where no function and no test reads it as a wildcard: it counts for a question about that very text only; left out",
    )
    GROUP_AS_OBJECT = (
        "group-as-object",
        FindingSeverity.WARNING,
        "a request about a group of objects by its own name is answered as about an object in it in Casbin; here nobody asks about a group",
    )
    WILDCARD_SUBJECT = (
        "wildcard-subject",
        FindingSeverity.REFUSED,
        "a row for everybody: remit has no such subject, make a group",
    )

    NAME_MAPPED = "name-mapped", FindingSeverity.NOTE, "a name outside remit's grammar, and what stands for it"
    NAME_UNUSABLE = (
        "name-unusable",
        FindingSeverity.REFUSED,
        "a name that has no counterpart, for example one that is too long",
    )
    NAME_COLLISION = "name-collision", FindingSeverity.REFUSED, "two names would become one"
    CASE_TWINS = (
        "case-twins",
        FindingSeverity.WARNING,
        "names that differ in case only: to Casbin and to remit they are two",
    )
    NOT_IN_CASBIN = (
        "not-in-casbin",
        FindingSeverity.NOTE,
        "what `remit export` leaves out: copy `resources.yaml`, and each `tenant.yaml`, from the original",
    )
    ROLE_AS_SUBJECT = (
        "role-as-subject",
        FindingSeverity.WARNING,
        "a request whose subject is a role's own name holds that role in Casbin; here nobody asks as a role",
    )
    SUBJECT_AMBIGUOUS = (
        "subject-ambiguous",
        FindingSeverity.NOTE,
        "a subject with `p` rows that no `g` row names: a person, or a role nobody holds; taken as a person",
    )
    ROLE_WITHOUT_RULES = (
        "role-without-rules",
        FindingSeverity.WARNING,
        "a role that leads to no `p` row: who holds it gains nothing; left out",
    )
    ROLE_CYCLE = "role-cycle", FindingSeverity.REFUSED, "roles that hold one another in a circle"
    CHAIN_TOO_LONG = (
        "chain-too-long",
        FindingSeverity.REFUSED,
        "a chain of more than nine `g` rows: Casbin for Python stops there (for Go after ten), and a deny behind it vanishes",
    )
    MISSING_WORD = (
        "missing-word",
        FindingSeverity.REFUSED,
        "no object, no action or no domain has a name: wildcards alone make no vocabulary; name some with `--object`, `--action`",
    )

    CASBIN_RAISES = (
        "casbin-raises",
        FindingSeverity.REFUSED,
        "Casbin itself has no answer to a question about these rows",
    )
    ANSWERS_DIFFER = "answers-differ", FindingSeverity.REFUSED, "the translation would answer differently"
    ANSWER_NARROWED = (
        "answer-narrowed",
        FindingSeverity.WARNING,
        "an object that an accepted reading no longer covers: its questions are not among the tests",
    )
    CASES_SAMPLED = (
        "cases-sampled",
        FindingSeverity.NOTE,
        "too many questions for a test file: a sample of them was kept",
    )

    MALFORMED_RECORD = "malformed-record", FindingSeverity.REFUSED, "a record of the export is not as documented"
    RECORD_DELETED = "record-deleted", FindingSeverity.NOTE, "a role, binding or group marked as deleted; left out"
    MIXED_CLASS_ROLE = (
        "mixed-class-role",
        FindingSeverity.WARNING,
        "a role bound to a namespace holds kinds of the whole tenant: in Kestra that binding grants them in the whole tenant, here it does not",
    )
    TENANT_ONLY_KIND = (
        "tenant-only-kind",
        FindingSeverity.WARNING,
        "a role bound to a namespace holds kinds that only a whole-tenant binding grants: it grants nothing of them, in Kestra as here",
    )
    BINDING_DELEGATION = (
        "binding-delegation",
        FindingSeverity.WARNING,
        "BINDING in a namespace delegates bindings below it in Kestra 2.0; here it takes a binding on the tenant",
    )
    NAMESPACE_PARENT = (
        "namespace-parent",
        FindingSeverity.WARNING,
        "NAMESPACE CREATE and DELETE are asked about the parent here, which a binding on that very namespace does not cover",
    )
    EXECUTION_CREATE = (
        "execution-create",
        FindingSeverity.WARNING,
        "1.x EXECUTION CREATE starts runs; the migration maps it to nothing, so its holder cannot start any more without FLOW EXECUTE",
    )
    FLOW_UPDATE_EXECUTES = (
        "flow-update-executes",
        FindingSeverity.WARNING,
        "1.x FLOW UPDATE becomes FLOW EXECUTE too: its holder can now start runs",
    )
    PERMISSION_MERGED = (
        "permission-merged",
        FindingSeverity.WARNING,
        "a 1.x permission that becomes part of a wider one: its holder can now do what that one gives",
    )
    PERMISSION_SPLIT = (
        "permission-split",
        FindingSeverity.WARNING,
        "1.x FLOW covered namespace files and the reading of triggers, TEST CREATE the running of tests; 2.0 asks for other permissions, which the migration does not give",
    )
    READ_ALIAS = (
        "read-alias",
        FindingSeverity.WARNING,
        "READ in a 2.0 role is an alias of VIEW alone: no LIST, no EXPORT",
    )
    PERMISSION_DROPPED = (
        "permission-dropped",
        FindingSeverity.WARNING,
        "a permission that the migration drops, or of which Kestra documents no action; left out",
    )
    ACTION_UNCHECKED = (
        "action-unchecked",
        FindingSeverity.WARNING,
        "an action that Kestra 2.0 checks nowhere for this kind; left out",
    )
    INSTANCE_PERMISSION = (
        "instance-permission",
        FindingSeverity.WARNING,
        "a kind of the instance: no role grants it; left out",
    )
    UNKNOWN_PERMISSION = (
        "unknown-permission",
        FindingSeverity.REFUSED,
        "a permission or action that the edition does not have",
    )
    UNKNOWN_ROLE = "unknown-role", FindingSeverity.REFUSED, "a binding to a role that the export does not hold"
    UNKNOWN_GROUP = (
        "unknown-group",
        FindingSeverity.WARNING,
        "a binding of a group whose members are not given: nobody holds it",
    )
    ROLE_WITHOUT_PERMISSIONS = (
        "role-without-permissions",
        FindingSeverity.REFUSED,
        "a managed role that comes without its permissions: Kestra does not publish them",
    )
    DEFAULT_ROLE = (
        "default-role",
        FindingSeverity.WARNING,
        "a default role, given to new users by Kestra: remit gives nothing to anybody by itself",
    )
    TENANT_ACCESS = (
        "tenant-access",
        FindingSeverity.WARNING,
        "no list of tenant access was given: everybody who is bound is evaluated",
    )
    GROUP_OWNER = (
        "group-owner",
        FindingSeverity.WARNING,
        "an owner of a group manages its members in Kestra 1.x without a permission; here an owner is a member",
    )
    INSTANCE_OWNER = (
        "instance-owner",
        FindingSeverity.WARNING,
        "an instance owner (superadmin): bind them in `_instance` by hand",
    )


KESTRA: Final = tuple(FindingId)[tuple(FindingId).index(FindingId.MALFORMED_RECORD) :]
"""Findings of an import from Kestra, which may report some of the others too."""

NARROWABLE = frozenset({FindingId.PREFIX_CROSSES_SEGMENT, FindingId.DOT_IS_ANY_CHARACTER})
"""Findings for which a user may accept the narrower reading, in rows that allow."""


@dataclass(frozen=True, slots=True)
class MigrationFinding:
    id: FindingId
    severity: FindingSeverity
    place: str
    """`file:line` of the original, `table:id` of a row in a database, or a path into a JSON document."""
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.severity} {self.id}: {self.message}"


class Findings:
    """Collects the findings of an import and reports them all at once."""

    def __init__(self, accepted: Iterable[FindingId] = ()) -> None:
        self._accepted = frozenset(accepted)
        self._found: dict[MigrationFinding, None] = {}

    def add(self, finding: FindingId, place: str, message: str) -> None:
        self._found[MigrationFinding(finding, finding.severity, place, message)] = None

    def narrow(self, finding: FindingId, place: str, message: str, effect: Effect) -> None:
        """Adds a finding, as a warning if the narrower reading was accepted. A deny is never narrowed."""
        if finding in self._accepted and effect is Effect.ALLOW:
            self._found[MigrationFinding(finding, FindingSeverity.WARNING, place, f"{message}; accepted")] = None
        else:
            self.add(finding, place, message)

    def refused(self) -> bool:
        return any(each.severity is FindingSeverity.REFUSED for each in self._found)

    @property
    def found(self) -> tuple[MigrationFinding, ...]:
        """The findings without duplicates, in the order in which they were added."""
        return tuple(self._found)


def findings_table(findings: Iterable[FindingId]) -> str:
    rows = "\n".join(f"| `{each}` | {each.severity} | {each.meaning} |" for each in findings)
    return f"| id | severity | meaning |\n|---|---|---|\n{rows}\n"
