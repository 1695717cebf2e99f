from dataclasses import dataclass
from typing import Final

from remit.core.names import quote
from remit.migrate.casbin.enforcer import FUNCTIONS, Enforcer
from remit.migrate.casbin.matcher import Matcher, MatcherClause, MatcherGroup, UnsupportedError, parse_matcher
from remit.migrate.casbin.patterns import PATTERN_FUNCTIONS
from remit.migrate.finding import FindingId, Findings

_SUBJECT: Final = frozenset({"sub", "subject", "user"})
_DOMAIN: Final = frozenset({"dom", "domain", "tenant", "ten", "org"})
_OBJECT: Final = frozenset({"obj", "object", "resource", "res"})
_ACTION: Final = frozenset({"act", "action", "method"})

_REQUESTS: Final = (["action", "object", "subject"], ["action", "domain", "object", "subject"])

_ALLOW_OVERRIDE: Final = "some(where (p.eft == allow))"
_DENY_OVERRIDE: Final = "!some(where (p.eft == deny))"
_ALLOW_AND_DENY: Final = "some(where (p.eft == allow)) && !some(where (p.eft == deny))"


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A model that remit can import: the test of each field of the request."""

    fields: tuple[str, ...]
    """`subject`, `domain`, `object`, `action` in the order of the request."""
    subject: MatcherClause
    domain: MatcherClause | None
    """None if there is no domain, or if only `g` tests it."""
    object: MatcherClause
    action: MatcherClause
    superusers: tuple[str, ...]
    denies: bool
    """Whether a deny row denies."""
    in_order: bool
    """Whether the first matching row decides."""

    @property
    def has_domains(self) -> bool:
        return "domain" in self.fields

    @property
    def roles(self) -> MatcherGroup | None:
        return self.subject.group

    @property
    def resources(self) -> MatcherGroup | None:
        """The group definition of objects."""
        return self.object.group


def read_shape(enforcer: Enforcer, model: str, findings: Findings) -> ModelShape | None:
    """Reads a model. Returns None, with findings, if our rows cannot express it. `model` is its file's name."""
    for each in enforcer.unread:
        findings.add(FindingId.DEFINITION_IGNORED, model, f"`{quote(each)}` is not read by Casbin")
    extra = [key for key in enforcer.definitions if key not in {"r", "p", "e", "m"}]
    if extra:
        findings.add(FindingId.SECOND_DEFINITION, model, f"`{extra[0]}`: expected `r`, `p`, `e` and `m` alone")
    for each in enforcer.conditional:
        findings.add(FindingId.CONDITIONAL_ROLE, model, f"`{each}` has conditions")
    names = {field: _meaning(field) for field in enforcer.request}
    meanings = list(names.values())
    if sorted(each or "" for each in meanings) not in _REQUESTS:
        asked = ", ".join(enforcer.request)
        findings.add(
            FindingId.UNSUPPORTED_REQUEST, model, f"`r = {quote(asked)}`: expected `sub, obj, act`, or with `dom`"
        )
        return None
    effects = {_ALLOW_OVERRIDE: (False, False), _ALLOW_AND_DENY: (True, False)}
    if enforcer.effect == _DENY_OVERRIDE:
        findings.add(FindingId.ALLOW_BY_DEFAULT, model, f"`{enforcer.effect}` allows whatever no row denies")
    denies, in_order = effects.get(enforcer.effect, (True, True))
    try:
        matcher = parse_matcher(enforcer.matcher)
        clauses = {names.get(field) or "": clause for field, clause in matcher.clauses.items()}
        _check(matcher, clauses, names, enforcer)
    except UnsupportedError as error:
        findings.add(error.finding, model, str(error))
        return None
    superusers = next((values for field, values in matcher.superusers.items() if names.get(field) == "subject"), ())
    return ModelShape(
        tuple(each for each in meanings if each),
        clauses["subject"],
        clauses.get("domain"),
        clauses["object"],
        clauses["action"],
        superusers,
        denies,
        in_order,
    )


def _meaning(field: str) -> str | None:
    known = {"subject": _SUBJECT, "domain": _DOMAIN, "object": _OBJECT, "action": _ACTION}
    return next((meaning for meaning, names in known.items() if field in names), None)


def _check(
    matcher: Matcher, clauses: dict[str, MatcherClause], names: dict[str, str | None], enforcer: Enforcer
) -> None:
    """Raises UnsupportedError if valid tests do not fit together."""
    unknown = [field for field in (*matcher.clauses, *matcher.superusers) if field not in names]
    if unknown:
        raise UnsupportedError(FindingId.UNSUPPORTED_MATCHER, f"`r.{unknown[0]}` is no field of the request")
    untested = [field for field in enforcer.request if field not in matcher.clauses and names[field] != "domain"]
    if untested:
        raise UnsupportedError(FindingId.UNSUPPORTED_MATCHER, f"`r.{untested[0]}` is tested by no part of the matcher")
    for field in matcher.superusers:
        if names.get(field) != "subject":
            raise UnsupportedError(FindingId.UNSUPPORTED_MATCHER, f"`r.{field} == ...` lets everybody through")
    for meaning, clause in clauses.items():
        _check_clause(meaning, clause, enforcer)
        if clause.group is not None:
            _check_group(meaning, clause.group, names, enforcer)
    if "domain" in names.values() and "domain" not in clauses:
        group = clauses["subject"].group
        if group is None or group.domain is None:
            raise UnsupportedError(FindingId.UNSUPPORTED_MATCHER, "the domain is tested by no part of the matcher")


def _check_clause(meaning: str, clause: MatcherClause, enforcer: Enforcer) -> None:
    allowed = {"subject": (), "action": ("regexMatch", "keyMatch")}.get(meaning, PATTERN_FUNCTIONS)
    for function in clause.functions:
        if function not in allowed:
            known = "known to Casbin" if function in FUNCTIONS else "unknown to Casbin"
            message = f"`{quote(function)}` ({known}) for the {meaning}"
            raise UnsupportedError(FindingId.UNSUPPORTED_FUNCTION, message)
    if clause.column not in enforcer.columns:
        raise UnsupportedError(FindingId.UNSUPPORTED_MATCHER, f"`p.{clause.column}` is no column")


def _check_group(meaning: str, group: MatcherGroup, names: dict[str, str | None], enforcer: Enforcer) -> None:
    if meaning not in {"subject", "object"}:
        raise UnsupportedError(FindingId.UNSUPPORTED_MATCHER, f"`{group.ptype}` groups the {meaning}s")
    if group.ptype not in enforcer.groups:
        raise UnsupportedError(FindingId.UNSUPPORTED_MATCHER, f"`{group.ptype}` is not in [role_definition]")
    if group.domain is not None and names.get(group.domain) != "domain":
        raise UnsupportedError(FindingId.UNSUPPORTED_MATCHER, f"`r.{group.domain}` is no domain")
    given = 2 if group.domain is None else 3
    if enforcer.groups[group.ptype] != given:
        raise UnsupportedError(
            FindingId.UNSUPPORTED_MATCHER,
            f"`{group.ptype}` has {enforcer.groups[group.ptype]} fields and is asked with {given}",
        )
