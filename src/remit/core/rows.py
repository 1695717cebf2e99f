"""The rows of a policy, as policy-language section 4 describes them. Each row knows its file and line."""

from dataclasses import dataclass, field
from typing import Final

from remit.core.names import Subject, Tenant, Word
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.core.str_enum import StrEnum

ANY: Final = (Word("*"),)
"""The value of `kinds`, `actions` and `relations` for `*`."""


class Effect(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Rule:
    """A p row of the access plane: `subject` may (or may not) do `actions` on `kinds` in `namespaces`."""

    subject: Subject
    tenant: Tenant
    """`*` for a managed role."""
    namespaces: NamespacePattern
    kinds: tuple[Word, ...]
    actions: tuple[Word, ...]
    effect: Effect
    file: str
    line: int

    @property
    def fields(self) -> tuple[str, ...]:
        """The six fields after `p`, as Casbin reads them."""
        return (
            self.subject,
            self.tenant,
            self.namespaces.text,
            "|".join(self.kinds),
            "|".join(self.actions),
            self.effect.value,
        )

    @property
    def text(self) -> str:
        return ", ".join(("p", *self.fields))

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def order(self) -> tuple[bool, str, int]:
        """The position in deciding order: a deny before an allow, then the lowest (file, line)."""
        return (self.effect is Effect.ALLOW, self.file, self.line)

    def names(self, kind: Word, action: Word) -> bool:
        return (self.kinds == ANY or kind in self.kinds) and (self.actions == ANY or action in self.actions)


@dataclass(frozen=True, slots=True)
class Link:
    """A g row: a membership (in a group), a binding (to a role) or an inclusion (of a role in a role).

    It counts for a question if `scope` covers the question's namespace.
    """

    member: Subject
    holds: Subject
    tenant: Tenant
    scope: NamespacePattern
    """`**` if the row names only the tenant."""
    file: str
    """For a row that is granted at run time: `runtime:change SEQ`."""
    line: int
    """0 for a row that is granted at run time."""
    expires_us: int = field(default=0, compare=False)
    """When a row that is granted at run time ends; 0 for none, and in archives. Whatever makes a snapshot keeps the row
    out of it from then on."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The three fields after `g`, as Casbin reads them."""
        scope = self.tenant if self.scope == EVERYWHERE else f"{self.tenant}/{self.scope.text}"
        return (self.member, self.holds, scope)

    @property
    def text(self) -> str:
        return ", ".join(("g", *self.fields))

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class ReachRule:
    """A p row of the reach plane: work in `caller` may (or may not) use what `owner` owns, by `relations`."""

    tenant: Tenant
    caller: NamespacePattern
    owner: NamespacePattern
    relations: tuple[Word, ...]
    effect: Effect
    file: str
    line: int

    @property
    def fields(self) -> tuple[str, ...]:
        """The five fields after `p`, as Casbin reads them."""
        return (self.tenant, self.caller.text, self.owner.text, "|".join(self.relations), self.effect.value)

    @property
    def text(self) -> str:
        return ", ".join(("p", *self.fields))

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"

    def names(self, relation: Word) -> bool:
        return self.relations == ANY or relation in self.relations

    def covers(self, other: "ReachRule") -> bool:
        """True if this rule matches every question that `other` matches."""
        return (
            self.caller.covers(other.caller)
            and self.owner.covers(other.owner)
            and (self.relations == ANY or (other.relations != ANY and set(other.relations) <= set(self.relations)))
        )
