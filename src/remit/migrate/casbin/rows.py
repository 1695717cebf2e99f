from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from remit.core.names import quote
from remit.core.rows import Effect
from remit.migrate.casbin.context import ImportContext
from remit.migrate.casbin.enforcer import Enforcer, LoadedRow, SourceRow
from remit.migrate.casbin.model import ModelShape
from remit.migrate.finding import FindingId, Findings
from remit.migrate.options import NO_FUNCTION


class Permit(NamedTuple):
    """A `p` row by the meaning of its columns."""

    subject: str
    domain: str | None
    object: str
    action: str
    effect: Effect
    source: SourceRow

    @property
    def place(self) -> str:
        return self.source.place


class Hold(NamedTuple):
    member: str
    held: str
    domain: str | None
    source: SourceRow

    @property
    def place(self) -> str:
        return self.source.place


@dataclass(frozen=True, slots=True)
class ModelRows:
    """The rows that count, by their meaning."""

    permits: tuple[Permit, ...]
    holds: tuple[Hold, ...]
    resources: tuple[LoadedRow, ...]
    """Memberships of objects in groups of objects."""
    effects: frozenset[str]
    """The effects of all `p` rows, including rows that do not count."""

    @property
    def domains(self) -> list[str]:
        """Every domain that a row names, including patterns."""
        named = {row.domain for row in self.permits} | {row.domain for row in self.holds}
        return sorted(domain for domain in named if domain is not None)

    @property
    def object_groups(self) -> frozenset[str]:
        return frozenset(row.fields[1] for row in self.resources)


def rows_by_meaning(read: Iterable[LoadedRow], origin: ImportContext) -> ModelRows:
    """Selects the rows that count from those that Casbin has loaded. The others become findings."""
    read = list(read)
    enforcer, shape, findings = origin.enforcer, origin.shape, origin.findings
    _note(read, findings)
    holds = tuple(_holds(read, shape, findings))
    permits = tuple(_permits(read, holds, origin))
    if not permits:
        findings.add(FindingId.POLICY_EMPTY, origin.model, "no `p` row counts")
    resources = [row for row in read if shape.resources and row.ptype == shape.resources.ptype]
    effects = frozenset(_effect(row, enforcer) for row in read if row.ptype == "p")
    return ModelRows(permits, holds, tuple(resources), effects)


def _effect(row: LoadedRow, enforcer: Enforcer) -> str:
    return row.fields[enforcer.columns.index("eft")] if "eft" in enforcer.columns else Effect.ALLOW


def _permits(read: Iterable[LoadedRow], holds: Iterable[Hold], origin: ImportContext) -> Iterator[Permit]:
    enforcer, shape, findings = origin.enforcer, origin.shape, origin.findings
    named = {name for row in holds for name in (row.member, row.held)}
    # A name that a function may read as a pattern is refused earlier.
    plain = shape.roles is None or origin.options.match.get(shape.roles.ptype) == NO_FUNCTION
    column = {name: index for index, name in enumerate(enforcer.columns)}
    for row in read:
        if row.ptype != "p":
            continue
        effect = _effect(row, enforcer)
        domain = row.fields[column[shape.domain.column]] if shape.domain else None
        texts = [row.fields[column[clause.column]] for clause in (shape.subject, shape.object, shape.action)]
        if "" in (*texts, domain):
            findings.add(FindingId.EMPTY_FIELD, row.place, f"`{quote(row.source.text)}`")
        elif effect not in set(Effect):
            findings.add(FindingId.EFFECT_UNKNOWN, row.place, f"`{quote(effect)}` is neither `allow` nor `deny`")
        elif effect == Effect.DENY and shape.in_order:
            message = f"`{quote(row.source.text)}` under `{enforcer.effect}`"
            findings.add(FindingId.PRIORITY_EFFECT, row.place, message)
        elif effect == Effect.DENY and not shape.denies:
            message = f"`{quote(row.source.text)}` under `{enforcer.effect}`"
            findings.add(FindingId.DENY_WITHOUT_EFFECT, row.place, message)
        elif texts[0] in shape.subject.wildcards:
            findings.add(FindingId.WILDCARD_SUBJECT, row.place, f"`{quote(texts[0])}` as the subject")
        elif plain and "*" in texts[0] and texts[0] not in named:
            findings.add(FindingId.NEVER_ASKED, row.place, f"`{quote(texts[0])}` as the subject")
        else:
            yield Permit(texts[0], domain, texts[1], texts[2], Effect(effect), row.source)


def _holds(read: Iterable[LoadedRow], shape: ModelShape, findings: Findings) -> Iterator[Hold]:
    group, resources = shape.roles, shape.resources
    unused = set()
    for row in read:
        if row.ptype == "p":
            continue
        if group is None or row.ptype != group.ptype:
            if resources is None or row.ptype != resources.ptype:
                unused.add((row.ptype, row.place))
            continue
        domain = row.fields[2] if group.domain else None
        if "" in (*row.fields[:2], domain):
            findings.add(FindingId.EMPTY_FIELD, row.place, f"`{quote(row.source.text)}`")
        else:
            yield Hold(row.fields[0], row.fields[1], domain, row.source)
    for ptype, place in sorted(unused):
        findings.add(FindingId.UNUSED_ROLE_DEFINITION, place, f"the matcher never asks `{ptype}`")


def _note(read: Iterable[LoadedRow], findings: Findings) -> None:
    """Reports oddities of rows that do not depend on their meaning."""
    seen: dict[tuple[str, tuple[str, ...]], str] = {}
    for row in read:
        text = row.source.text
        for sign, finding in (('"', FindingId.QUOTES), ("#", FindingId.COMMENT_IN_ROW)):
            if sign in text:
                field = next((each for each in row.fields if sign in each), text)
                findings.add(finding, row.place, f"`{quote(field)}` is the field, whole")
        if set(text) & set("[]()") and any("," in field for field in row.fields):
            findings.add(FindingId.BRACKETS, row.place, f"`{quote(text)}`")
        first = seen.setdefault((row.ptype, row.fields), row.place)
        if first != row.place:
            findings.add(FindingId.DUPLICATE_ROW, row.place, f"`{quote(text)}` as at {first}")
