from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from remit.core.errors import InvalidNameError
from remit.core.names import Tenant, Word, parse_namespace, parse_tenant, quote
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.core.rows import ANY, Effect
from remit.migrate.casbin.context import ImportContext
from remit.migrate.casbin.matcher import MatcherClause
from remit.migrate.casbin.patterns import Separated, UntranslatableError
from remit.migrate.casbin.rows import ModelRows, Permit
from remit.migrate.casbin.vocabulary import ImportedVocabulary, matches
from remit.migrate.finding import FindingId
from remit.migrate.name_mapping import encode_segment
from remit.migrate.options import NO_FUNCTION, DomainReading, ObjectReading


class TenantHome(NamedTuple):
    """A tenant to write, and its Casbin domain if it has one."""

    tenant: Tenant
    domain: str | None


class Placement:
    """Maps the domains and objects of Casbin rows to tenants, namespaces and kinds."""

    def __init__(self, rows: ModelRows, lexicon: ImportedVocabulary, origin: ImportContext) -> None:
        self._rows = rows
        self._lexicon = lexicon
        self._enforcer = origin.enforcer
        self._shape = origin.shape
        self._model = origin.model
        self._options = origin.options
        self._findings = origin.findings
        self._narrowed: list[tuple[str, str, NamespacePattern]] = []
        """Casbin patterns with a narrower reading: text, function, and our pattern."""
        self._domains = self._known_domains()
        self._dotted = self._separated(self._domains)
        self._parted = self._separated(self._object_texts() if self.objects_are_namespaces else ())

    @property
    def objects_are_namespaces(self) -> bool:
        return self._lexicon.objects_are is ObjectReading.NAMESPACES

    @property
    def domains_are_namespaces(self) -> bool:
        return self._shape.has_domains and self._options.domains is DomainReading.NAMESPACES

    def homes(self) -> list[TenantHome]:
        options = self._options
        if self._shape.has_domains and not self.domains_are_namespaces:
            return self._tenants()
        if options.tenant is None:
            self._refuse(FindingId.NAME_UNUSABLE, "name the tenant with `--tenant`: the policy names none")
            return []
        if self.domains_are_namespaces and self.objects_are_namespaces:
            message = "domains and objects cannot both be namespaces: leave `--domains` at tenants"
            self._refuse(FindingId.UNSUPPORTED_REQUEST, message)
        return [TenantHome(options.tenant, None)]

    def counts_in(self, domain: str | None, clause: MatcherClause | None, home: TenantHome, place: str) -> bool:
        """Whether a row of `domain` counts in a tenant. Always True if domains are not tenants."""
        if domain is None or home.domain is None:
            return True
        if clause is None:
            return domain == home.domain
        if domain in clause.wildcards:
            self._findings.add(FindingId.WILDCARD_DOMAIN, place, f"`{quote(domain)}`: copied into {len(self._domains)}")
            return True
        if clause.equal and domain == home.domain:
            return True
        matching = any(matches(function, home.domain, domain) for function in clause.functions)
        if matching and domain != home.domain:
            self._findings.add(FindingId.WILDCARD_DOMAIN, place, f"`{quote(domain)}`: copied into each that it matches")
        return matching

    def scopes(self, domain: str, clause: MatcherClause, effect: Effect, place: str) -> list[NamespacePattern]:
        return list(self._patterns(self._dotted, domain, clause, effect, place))

    def of(self, row: Permit, home: TenantHome) -> Iterator[tuple[NamespacePattern, tuple[Word, ...]]]:
        if self.objects_are_namespaces:
            for pattern in self._object_patterns(row, home):
                yield pattern, (self._lexicon.kind,)
            return
        kinds = self._object_kinds(row, home)
        where = [EVERYWHERE]
        if self.domains_are_namespaces and self._shape.domain is not None and row.domain is not None:
            where = self.scopes(row.domain, self._shape.domain, row.effect, row.place)
        for pattern in where if kinds else ():
            yield pattern, kinds

    def asked(self, home: TenantHome) -> tuple[Sequence[str], Sequence[str]]:
        """The domains and objects to ask about, in Casbin's words: all named ones, and some in and around patterns."""
        domains: Sequence[str] = [home.domain or ""]
        if self.domains_are_namespaces:
            domains = _probed(self._dotted, self._domains, self._rows.domains)
        objects: Sequence[str] = self._lexicon.objects
        if self.objects_are_namespaces:
            objects = [name for name in _probed(self._parted, objects, self._object_texts()) if self._is_whole(name)]
        return domains, objects

    def found_at(self, domain: str, thing: str) -> tuple[Word, str]:
        """The kind and the namespace of a question in Casbin's words."""
        if self.objects_are_namespaces:
            return self._lexicon.kind, self._parted.namespace(thing)
        namespace = self._dotted.namespace(domain) if self.domains_are_namespaces else ""
        return self._lexicon.words[thing], namespace

    def _known_domains(self) -> list[str]:
        wild = self._shape.domain.wildcards if self._shape.domain else frozenset[str]()
        return [domain for domain in self._rows.domains if "*" not in domain and domain not in wild]

    def _tenants(self) -> list[TenantHome]:
        homes = []
        for domain in self._domains:
            try:
                tenant = parse_tenant(encode_segment(domain))
            except InvalidNameError as error:
                self._refuse(FindingId.NAME_UNUSABLE, f"domain `{quote(domain)}`: {error}")
                continue
            if tenant != domain:
                message = f"domain `{quote(domain)}` becomes tenant `{tenant}`"
                self._findings.add(FindingId.NAME_MAPPED, self._model, message)
            homes.append(TenantHome(tenant, domain))
        only = self._options.tenant
        if only is not None and [home.tenant for home in homes] != [only]:
            found = ", ".join(f"`{home.tenant}`" for home in homes) or "none"
            message = f"domains become tenants ({found}): leave out `--tenant`, or say `--domains namespaces`"
            self._refuse(FindingId.NAME_UNUSABLE, message)
        if self._shape.domain is None and self._rows.permits:
            message = f"`p` rows name no domain, so each counts in every domain: copied into {len(homes)}"
            self._findings.add(FindingId.WILDCARD_DOMAIN, self._model, message)
        if not homes:
            self._refuse(FindingId.MISSING_WORD, "no row names a domain, so there is no tenant to write")
        return homes

    def _object_texts(self) -> list[str]:
        """Objects and patterns over them, without groups of objects."""
        groups, wild = self._rows.object_groups, self._shape.object.wildcards
        named = [*(row.object for row in self._rows.permits), *(row.fields[0] for row in self._rows.resources)]
        return [text for text in (*named, *self._options.objects_more) if text not in groups and text not in wild]

    def _separated(self, texts: Iterable[str]) -> Separated:
        try:
            return Separated(texts)
        except UntranslatableError as error:
            self._refuse(FindingId.UNTRANSLATABLE_PATTERN, str(error))
            return Separated(())

    def _object_kinds(self, row: Permit, home: TenantHome) -> tuple[Word, ...]:
        clause = self._shape.object
        if row.object in clause.wildcards or (row.object == "*" and {"keyMatch", "keyMatch2"} & set(clause.functions)):
            self._findings.add(FindingId.WILDCARD_OBJECT, row.place, f"`{quote(row.object)}`")
            return ANY
        if clause.functions and set(row.object) & set("*:{"):
            message = f"`{quote(row.object)}` is a pattern: say `--objects namespaces`"
            self._findings.add(FindingId.UNTRANSLATABLE_PATTERN, row.place, message)
            return ()
        if "*" in row.object:
            self._findings.add(FindingId.NEVER_ASKED, row.place, f"`{quote(row.object)}`")
            return ()
        named = self._lexicon.objects
        held = [name for name in named if self._in_group(name, row.object, home)] if clause.group else [row.object]
        return tuple(self._lexicon.words[name] for name in held if name in self._lexicon.words)

    def _object_patterns(self, row: Permit, home: TenantHome) -> Iterator[NamespacePattern]:
        clause = self._shape.object
        groups = self._rows.object_groups
        if clause.group is None or row.object not in groups:
            yield from self._patterns(self._parted, row.object, clause, row.effect, row.place)
            return
        function = self._options.match.get(clause.group.ptype, NO_FUNCTION)
        reading = MatcherClause(clause.column, functions=() if function == NO_FUNCTION else (function,))
        for member in dict.fromkeys(each.fields[0] for each in self._rows.resources):
            if member not in groups and self._in_group(member, row.object, home):
                yield from self._patterns(self._parted, member, reading, row.effect, row.place)

    def _in_group(self, name: str, held: str, home: TenantHome) -> bool:
        """Whether an object is in a group of objects, by the matcher's `g2`."""
        group = self._shape.resources
        if group is None:
            return name == held
        if group.domain is None:
            return self._enforcer.holds(group.ptype, name, held)
        if home.domain is None:
            message = f"`{group.ptype}` asks about the domain: leave `--domains` at tenants"
            self._refuse(FindingId.UNSUPPORTED_MATCHER, message)
            return False
        return self._enforcer.holds(group.ptype, name, held, home.domain)

    def _patterns(
        self, names: Separated, text: str, clause: MatcherClause, effect: Effect, place: str
    ) -> Iterator[NamespacePattern]:
        """The patterns that cover what a column's text matches."""
        if text in clause.wildcards:
            self._findings.add(FindingId.WILDCARD_OBJECT, place, f"`{quote(text)}`")
            yield EVERYWHERE
            return
        if "*" in text and not clause.functions:
            self._findings.add(FindingId.NEVER_ASKED, place, f"`{quote(text)}`")
            return
        try:
            if not clause.functions:
                yield NamespacePattern.parse(names.namespace(text))
            for function in clause.functions:
                yield self._pattern(names, text, function, effect, place)
        except UntranslatableError as error:
            self._findings.add(FindingId.UNTRANSLATABLE_PATTERN, place, str(error))
        except InvalidNameError as error:
            self._findings.add(FindingId.NAME_UNUSABLE, place, str(error))

    def _pattern(self, names: Separated, text: str, function: str, effect: Effect, place: str) -> NamespacePattern:
        reading = names.pattern(text, function)
        pattern = NamespacePattern.parse(reading.pattern)
        if reading.narrowed is not None:
            self._findings.narrow(reading.narrowed, place, f"`{quote(text)}` would become `{pattern}`", effect)
            self._narrowed.append((text, function, pattern))
        if reading.note is not None:
            self._findings.add(reading.note, place, f"`{quote(text)}` becomes `{pattern}`")
        if pattern == EVERYWHERE:
            self._findings.add(FindingId.WILDCARD_OBJECT, place, f"`{quote(text)}`")
        return pattern

    def _is_whole(self, name: str) -> bool:
        """Whether our patterns cover an object in all cases in which Casbin's patterns do."""
        namespace = parse_namespace(self._parted.namespace(name))
        for text, function, pattern in self._narrowed:
            if matches(function, name, text) and not pattern.contains(namespace):
                if name in self._lexicon.objects:
                    message = f"`{quote(name)}` is covered by `{quote(text)}`, and not by `{pattern}`"
                    self._findings.add(FindingId.ANSWER_NARROWED, self._model, message)
                return False
        return True

    def _refuse(self, finding: FindingId, message: str) -> None:
        self._findings.add(finding, self._model, message)


def _probed(names: Separated, concrete: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """The names, and further names in and around the patterns. Drops names that are no namespaces."""
    found = dict.fromkeys(concrete)
    for pattern in patterns:
        found |= dict.fromkeys(names.probes(pattern))
    return [name for name in found if _is_namespace(names, name)]


def _is_namespace(names: Separated, text: str) -> bool:
    try:
        parse_namespace(names.namespace(text))
    except (UntranslatableError, InvalidNameError):
        return False
    return True
