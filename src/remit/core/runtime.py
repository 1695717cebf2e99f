"""Rows that are granted at run time, and what a tenant's files let be granted so (policy-language section 4)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from remit.core.errors import FieldViolation, InvalidNameError, MalformedQuestionError, malformed
from remit.core.names import Subject, Tenant, Word, parse_subject, quote
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.core.rows import Link

MEMBERS: Final = ("user:", "service:", "group:")
HELD: Final = ("group:", "role:")

BINDING: Final = Word("BINDING")
"""The kind that a question about granting is about."""
GRANT: Final = Word("CREATE")
REVOKE: Final = Word("DELETE")
GRANT_ANY: Final = Word("GRANT_ANY")
"""The action of a granter who may give more than it holds."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """The key `runtime` of tenant.yaml: which rows may be granted at run time."""

    roles: tuple[str, ...] = ()
    """Names of roles. A final `*` stands for any end of a name."""
    groups: tuple[str, ...] = ()
    scopes: tuple[NamespacePattern, ...] = ()
    """The scope of a row must lie within these patterns together."""
    max_ttl_s: int | None = None
    """The longest life of a row; None if a row need not expire."""
    suspend: Subject | None = None
    """A group into which anybody may be put."""

    def opens(self, holds: str) -> bool:
        """True if rows may give this role, or membership in this group, beside `suspend`."""
        return any(stands_for(name, holds) for name in (self.roles if holds.startswith("role:") else self.groups))


def stands_for(name: str, subject: str) -> bool:
    """True if `name` is the subject, or ends with `*` and the subject begins so."""
    return subject.startswith(name[:-1]) if name.endswith("*") else subject == name


@dataclass(frozen=True, slots=True)
class RuntimeRow:
    """A row that is granted at run time: like a g row of the files, with a time from which on it counts no more."""

    member: Subject
    """A user, a service or a group."""
    holds: Subject
    """A group or a role."""
    scope: NamespacePattern = EVERYWHERE
    expires_us: int | None = None

    def counts(self, time_us: int) -> bool:
        return self.expires_us is None or time_us < self.expires_us

    def link(self, tenant: Tenant, seq: int, member: Subject | None = None) -> Link:
        """The g row. Change `seq` of the tenant granted it, and that is its place. `member` is another copy of the name."""
        return Link(member or self.member, self.holds, tenant, self.scope, _place(seq), 0, self.expires_us or 0)


RUNTIME_FILE: Final = "runtime"
"""Where the text of a revision has the rows of run time. No policy file has this path."""
RUNTIME_PLACE: Final = f"{RUNTIME_FILE}:change "
"""How the place of such a row begins; the number of its change follows."""


@lru_cache(65_536)
def _place(seq: int) -> str:
    """Many rows of one change share the text."""
    return f"{RUNTIME_PLACE}{seq}"


def change_of(link: Link) -> int:
    """The change that granted a g row, which is one of run time."""
    return int(link.file.removeprefix(RUNTIME_PLACE))


def parse_runtime_row(member: str, holds: str, scope: str = "", expires_us: int | None = None) -> RuntimeRow:
    """A row from unparsed names; an empty scope is the whole tenant.

    Raises MalformedQuestionError with every field that is wrong.
    """
    violations: list[FieldViolation] = []

    def parsed(field: str, parse: Callable[[str], str], text: str) -> Subject:
        try:
            return Subject(parse(text))
        except InvalidNameError as error:
            violations.append(malformed(field, error))
            return Subject("")

    who = parsed("member", _one_of(MEMBERS), member)
    what = parsed("holds", _one_of(HELD), holds)
    where = EVERYWHERE
    try:
        where = _scope(scope)
    except InvalidNameError as error:
        violations.append(malformed("scope", error))
    if violations:
        raise MalformedQuestionError(*violations)
    return RuntimeRow(who, what, where, expires_us)


def _one_of(types: tuple[str, ...]) -> Callable[[str], Subject]:
    def parse(text: str) -> Subject:
        subject = parse_subject(text)
        if not subject.startswith(types):
            *others, last = (f"`{each}`" for each in types)
            raise InvalidNameError(f"`{quote(text)}`: expected {', '.join(others)} or {last} with an ID")
        return subject

    return parse


def _scope(text: str) -> NamespacePattern:
    if text == EVERYWHERE.text:
        raise InvalidNameError(f"`{text}`: leave it empty for the whole tenant")
    return NamespacePattern.parse(text) if text else EVERYWHERE
