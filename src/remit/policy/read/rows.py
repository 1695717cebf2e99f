from collections.abc import Callable, Iterator
from typing import TypeVar

from remit.core.errors import InvalidNameError
from remit.core.names import CALLERS, INSTANCE, Subject, Tenant, Word, is_tenant, parse_subject, quote
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.core.rows import ANY, Effect, Link, ReachRule, Rule
from remit.core.vocabulary import Vocabulary
from remit.policy.read.csv import Row, column
from remit.policy.read.report import Diagnostics, did_you_mean

_T = TypeVar("_T")

_RULE_FIELDS = "subject, tenant, namespaces, kind, actions, effect"
_LINK_FIELDS = "member, holds, scope"
_REACH_FIELDS = "tenant, caller, owner, relation, effect"
_EFFECTS = {"allow": Effect.ALLOW, "deny": Effect.DENY}
_HOLDS = {"user": ("group", "role"), "service": ("group", "role"), "group": ("group", "role"), "role": ("role",)}


class _RowRefusedError(Exception):
    """A field is invalid: its index in the row, and the reason."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


_Check = Callable[[], object]
"""Raises _RowRefusedError if a field is invalid."""


class RowReader:
    """Turns the rows of one folder into rules and links. Parses a repeated text once, and keeps equal values once."""

    def __init__(self, tenant: Tenant | None, vocabulary: Vocabulary, report: Diagnostics) -> None:
        """`tenant` is None for the root's roles.csv, whose rows belong to managed roles."""
        self._tenant = tenant
        self._row_tenant = Tenant("*") if tenant is None else tenant
        self._vocabulary = vocabulary
        self._report = report
        self._kinds = sorted(vocabulary.kinds_of(self._row_tenant))
        self._subjects: dict[str, Subject] = {}
        self._patterns: dict[str, NamespacePattern] = {"**": EVERYWHERE}
        self._kind_sets: dict[str, tuple[Word, ...]] = {"*": ANY}
        self._action_sets: dict[tuple[str, str], tuple[Word, ...]] = {}
        self._relation_sets: dict[str, tuple[Word, ...]] = {"*": ANY}
        self._scopes: dict[str, NamespacePattern] = {}
        self.refused: set[str] = set()
        """The subjects or members of invalid rows."""

    def access(self, row: Row) -> Rule | Link | None:
        """A row of roles.csv or bindings.csv; None, with diagnostics, if it is invalid."""
        return self._guarded(row, self._access, self._access_fields)

    def reach(self, row: Row) -> ReachRule | None:
        """A row of reach.csv; None, with diagnostics, if it is invalid."""
        return self._guarded(row, self._reach, self._reach_fields)

    def _guarded(self, row: Row, read: Callable[[Row], _T], fields: Callable[[Row], Iterator[_Check]]) -> _T | None:
        try:
            if not row.text.isascii():
                found = next(index for index, char in enumerate(row.text) if not char.isascii())
                self._report.add(row.file, row.line, found + 1, f"`{quote(row.text[found])}` in a row: rows are ASCII")
                self.refused.update(row.fields[1:2])
                return None
            return read(row)
        except _RowRefusedError as error:
            self.refused.update(row.fields[1:2])
            # Look for further errors only now, so that valid rows are read once.
            others = (refused for check in fields(row) if (refused := _refusal(check)) is not None)
            for index, message in dict.fromkeys((each.index, str(each)) for each in (error, *others)):
                hint = "; a comment needs its own line" if "#" in row.fields[index] else ""
                self._report.add(row.file, row.line, column(row.text, index), f"{message}{hint}")
            return None

    def _access_fields(self, row: Row) -> Iterator[_Check]:
        """Separate checks of the row's fields; none if the number of fields is wrong."""
        match row.fields:
            case ["p", subject, tenant, namespaces, kinds, actions, effect]:
                yield lambda: self._rule_subject(subject)
                yield lambda: self._check_tenant(tenant, 2)
                yield lambda: self._pattern(namespaces, 3)
                yield lambda: self._action_set(kinds, self._kind_sets.get(kinds) or self._kind_set(kinds), actions)
                yield lambda: self._effect(effect, 6)
            case ["g", member, holds, scope] if self._tenant is not None:
                yield lambda: self._subject(member, 1)
                yield lambda: self._subject(holds, 2)
                yield lambda: self._scope(scope)

    def _reach_fields(self, row: Row) -> Iterator[_Check]:
        match row.fields:
            case ["p", tenant, caller, owner, relations, effect]:
                yield lambda: self._check_tenant(tenant, 1)
                yield lambda: self._pattern(caller, 2)
                yield lambda: self._pattern(owner, 3)
                yield lambda: self._relation_sets.get(relations) or self._relation_set(relations)
                yield lambda: self._effect(effect, 5)

    def _access(self, row: Row) -> Rule | Link:
        match row.fields[0]:
            case "p":
                return self._rule(row)
            case "g" if self._tenant is None:
                raise _RowRefusedError(0, "a `g` row in the root's roles.csv: managed roles are p rows only")
            case "g":
                return self._link(row)
            case other:
                hint = did_you_mean(other.lower(), ("p", "g"))
                raise _RowRefusedError(0, f"unknown row type `{quote(other)}`: expected `p` or `g`{hint}")

    def _rule(self, row: Row) -> Rule:
        if len(row.fields) != len(_RULE_FIELDS.split(",")) + 1:
            raise _wrong_number(row, _RULE_FIELDS, reach=_REACH_FIELDS)
        _, subject, tenant, namespaces, kinds, actions, effect = row.fields
        parsed = self._rule_subject(subject)
        self._check_tenant(tenant, 2)
        pattern = self._pattern(namespaces, 3)
        kind_set = self._kind_sets.get(kinds) or self._kind_set(kinds)
        action_set = self._action_sets.get((kinds, actions)) or self._action_set(kinds, kind_set, actions)
        if pattern is not EVERYWHERE and not self._any_namespaced(kind_set):
            raise _RowRefusedError(3, f"`{namespaces}` for kinds without namespace: expected `**`")
        return Rule(
            parsed, self._row_tenant, pattern, kind_set, action_set, self._effect(effect, 6), row.file, row.line
        )

    def _link(self, row: Row) -> Link:
        if len(row.fields) != len(_LINK_FIELDS.split(",")) + 1:
            raise _wrong_number(row, _LINK_FIELDS)
        _, member, holds, scope = row.fields
        parsed = self._subject(member, 1)
        held = self._subject(holds, 2)
        allowed = _HOLDS[member.partition(":")[0]]
        if holds.partition(":")[0] not in allowed:
            expected = " or ".join(f"a `{each}:`" for each in allowed)
            raise _RowRefusedError(2, f"`{member}` cannot hold `{holds}`: expected {expected}")
        return Link(parsed, held, self._row_tenant, self._scopes.get(scope) or self._scope(scope), row.file, row.line)

    def _reach(self, row: Row) -> ReachRule:
        if row.fields[0] != "p":
            raise _RowRefusedError(0, f"a `{quote(row.fields[0])}` row in reach.csv: expected `p`")
        if len(row.fields) != len(_REACH_FIELDS.split(",")) + 1:
            raise _wrong_number(row, _REACH_FIELDS)
        _, tenant, caller, owner, relations, effect = row.fields
        self._check_tenant(tenant, 1)
        return ReachRule(
            self._row_tenant,
            self._pattern(caller, 2),
            self._pattern(owner, 3),
            self._relation_sets.get(relations) or self._relation_set(relations),
            self._effect(effect, 5),
            row.file,
            row.line,
        )

    def _rule_subject(self, text: str) -> Subject:
        parsed = self._subject(text, 1)
        if self._tenant is None and not text.startswith("role:"):
            raise _RowRefusedError(
                1, f"`{text}` in the root's roles.csv: managed roles only, expected `role:` with an ID"
            )
        return parsed

    def _subject(self, text: str, index: int) -> Subject:
        known = self._subjects.get(text)
        if known is None:
            known = self._subjects[text] = _parsed(parse_subject, text, index)
        return known

    def _pattern(self, text: str, index: int) -> NamespacePattern:
        known = self._patterns.get(text)
        if known is None:
            try:
                known = self._patterns[text] = _parsed(NamespacePattern.parse, text, index)
            except _RowRefusedError as error:
                raise _RowRefusedError(index, f"{error}{_meant(text)}") from None
        if self._tenant == CALLERS and not _covers_a_tenant(known):
            # It would match nothing: a deny over it would be a wall that nobody has.
            raise _RowRefusedError(
                index, f"`{quote(text)}`: in `{CALLERS}` a namespace is a tenant, expected its name, `*` or `**`"
            )
        return known

    def _scope(self, text: str) -> NamespacePattern:
        tenant, slash, pattern = text.partition("/")
        try:
            self._check_tenant(tenant, 3)
        except _RowRefusedError as error:
            if slash or "." not in text:
                raise
            raise _RowRefusedError(3, f"{error}; a part of it is written `{self._row_tenant}/{quote(text)}`") from None
        if slash and pattern == EVERYWHERE.text:
            raise _RowRefusedError(3, f"`{text}`: write `{tenant}` for the whole tenant")
        scope = self._scopes[text] = self._pattern(pattern, 3) if slash else EVERYWHERE
        return scope

    def _check_tenant(self, text: str, index: int) -> None:
        if text != self._row_tenant:
            what = "managed roles' rows have" if self._tenant is None else "a row speaks of its folder's tenant,"
            raise _RowRefusedError(index, f"tenant `{quote(text)}`: {what} `{self._row_tenant}`")

    def _kind_set(self, text: str) -> tuple[Word, ...]:
        names = _choice("kind", text, 4)
        for name in names:
            kind = self._vocabulary.kinds.get(name)
            if kind is None:
                raise _RowRefusedError(4, f"unknown kind `{quote(name)}`{did_you_mean(name, self._kinds)}")
            if not kind.lives_in(self._row_tenant):
                side = f"in `{INSTANCE}` only" if self._tenant != INSTANCE else f"outside `{INSTANCE}`"
                raise _RowRefusedError(4, f"kind `{name}` is of class `{kind.kind_class}`: it lives {side}")
        self._kind_sets[text] = names
        return names

    def _action_set(self, kinds_text: str, kinds: tuple[Word, ...], text: str) -> tuple[Word, ...]:
        if text == "*":
            return ANY
        names = _choice("action", text, 5)
        named = self._kinds if kinds == ANY else kinds
        for name in names:
            without = [kind for kind in named if name not in self._vocabulary.kinds[Word(kind)].actions]
            # `*` names no kind, so it is enough if one kind has the action.
            if without and (kinds != ANY or len(without) == len(named)):
                known = {action for kind in named for action in self._vocabulary.kinds[Word(kind)].actions}
                where = "no kind" if kinds == ANY else f"kind `{without[0]}`"
                has = "has" if kinds == ANY else "has no"
                raise _RowRefusedError(5, f"{where} {has} action `{quote(name)}`{did_you_mean(name, known - {name})}")
        self._action_sets[kinds_text, text] = names
        return names

    def _relation_set(self, text: str) -> tuple[Word, ...]:
        names = _choice("relation", text, 4)
        for name in names:
            if name not in self._vocabulary.relations:
                raise _RowRefusedError(
                    4, f"unknown relation `{quote(name)}`{did_you_mean(name, self._vocabulary.relations)}"
                )
        self._relation_sets[text] = names
        return names

    def _any_namespaced(self, kinds: tuple[Word, ...]) -> bool:
        named = self._kinds if kinds == ANY else kinds
        return any(self._vocabulary.kinds[Word(kind)].namespaced for kind in named)

    def _effect(self, text: str, index: int) -> Effect:
        effect = _EFFECTS.get(text)
        if effect is None:
            raise _RowRefusedError(index, f"`{quote(text)}` is not an effect: expected `allow` or `deny`")
        return effect


def _covers_a_tenant(pattern: NamespacePattern) -> bool:
    return len(pattern.segments) <= 1 and all(segment == "*" or is_tenant(segment) for segment in pattern.segments)


def _refusal(check: _Check) -> _RowRefusedError | None:
    try:
        check()
    except _RowRefusedError as error:
        return error
    return None


def _meant(text: str) -> str:
    """`; did you mean ...` for a text close to a pattern: in capitals, or with a star where a subtree begins."""
    lower = text.lower()
    for nearly in (lower, f"{lower.rstrip('.*')}.**"):
        try:
            NamespacePattern.parse(nearly)
        except InvalidNameError:
            continue
        return f"; did you mean `{nearly}`?"
    return ""


def _choice(what: str, text: str, index: int) -> tuple[Word, ...]:
    names = tuple(text.split("|"))
    if not all(names) or " " in text or len(set(names)) < len(names) or "*" in names:
        raise _RowRefusedError(
            index, f"`{quote(text)}`: expected one {what}, `A|B|C` without blanks or repeats, or `*` alone"
        )
    return tuple(Word(name) for name in names)


def _parsed(parse: Callable[[str], _T], text: str, index: int) -> _T:
    try:
        return parse(text)
    except InvalidNameError as error:
        raise _RowRefusedError(index, str(error)) from None


def _wrong_number(row: Row, expected: str, reach: str = "") -> _RowRefusedError:
    count = len(row.fields) - 1
    hint = (
        "; this has the fields of a reach row, which lives in reach.csv"
        if reach and count == reach.count(",") + 1
        else ""
    )
    return _RowRefusedError(
        0,
        f"{count} field{'s' if count != 1 else ''} behind `{quote(row.fields[0])}`, "
        f"expected {expected.count(',') + 1}: {expected}{hint}",
    )
