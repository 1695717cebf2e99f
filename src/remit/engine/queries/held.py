from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from remit.core.names import Principal, Subject
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.core.question import QuestionType
from remit.core.rows import Link, Rule
from remit.engine.inquiry import Inquiry, TooLargeError
from remit.engine.snapshot import Snapshot

ENTRIES_LIMIT: Final = 20_000
"""Chains from one principal. Scopes and groups along chains multiply."""


@dataclass(frozen=True, slots=True)
class HeldChain:
    """The g rows that lead from a principal to a group or a role."""

    rows: tuple[Link, ...]
    where: NamespacePattern
    """The namespaces that all scopes cover."""

    @property
    def holds(self) -> Subject:
        return self.rows[-1].holds

    @property
    def expires_us(self) -> int:
        """When the first of the rows ends; 0 if none does."""
        return min((row.expires_us for row in self.rows if row.expires_us), default=0)


@dataclass(frozen=True, slots=True)
class Held:
    """All that leads from a principal."""

    rules: tuple[Rule, ...]
    """The p rows of the principal itself, by file and line."""
    chains: tuple[HeldChain, ...]
    """The shortest first; equally long ones by file and line."""
    admitted: bool
    """False if there is an access list without the principal."""

    @property
    def total(self) -> int:
        return len(self.rules) + len(self.chains)

    @property
    def roles(self) -> list[Subject]:
        return sorted({each.holds for each in self.chains if each.holds.startswith("role:")})


@dataclass(frozen=True, slots=True)
class HeldBy(Inquiry[Held]):
    """What leads from this principal, and by which rows?"""

    question_type: ClassVar = QuestionType.HELD
    principal: Principal

    @property
    def columns(self) -> tuple[str, str, str, str]:
        return (self.principal, "", "", "")

    def answer(self, snapshot: Snapshot) -> Held:
        rules = sorted(snapshot.graph.rules_of(self.principal), key=lambda rule: (rule.file, rule.line))
        chains: list[HeldChain] = []
        ends: list[HeldChain] = [*_onward(snapshot, self.principal, (), EVERYWHERE)]
        self._require_few(len(rules) + len(ends))
        while ends:
            chains += sorted(ends, key=_places)
            longer: list[HeldChain] = []
            for each in ends:
                longer += _onward(snapshot, each.holds, each.rows, each.where)
                self._require_few(len(rules) + len(chains) + len(longer))
            ends = longer
        return Held(tuple(rules), tuple(chains), snapshot.admits(self.principal))

    def _require_few(self, entries: int) -> None:
        if entries > ENTRIES_LIMIT:
            raise TooLargeError(f"more than {ENTRIES_LIMIT} rows and chains of rows lead from `{self.principal}`")

    def detail(self, answer: Held) -> Mapping[str, object]:
        return {"entries": answer.total, "roles": len(answer.roles)}


def _onward(snapshot: Snapshot, subject: str, rows: tuple[Link, ...], where: NamespacePattern) -> Iterator[HeldChain]:
    for link in snapshot.graph.links_of(subject):
        both = where.intersection(link.scope)
        if both is not None:
            yield HeldChain((*rows, link), both)


def _places(chain: HeldChain) -> tuple[tuple[str, int, str], ...]:
    return tuple((row.file, row.line, row.text) for row in chain.rows)
