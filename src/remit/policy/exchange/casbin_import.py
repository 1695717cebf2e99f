"""A Casbin policy as policy files of ours, with the answers that Casbin gives today as their tests."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from random import Random
from typing import Final, NamedTuple, TypeVar

from remit.core.diagnostics import PolicyError
from remit.core.errors import InvalidNameError
from remit.core.names import Subject, Tenant, Word, is_word, parse_namespace, parse_tenant, quote
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.core.rows import ANY, Effect, Link, ReachRule, Rule
from remit.core.vocabulary import Kind, KindClass
from remit.policy.cases import AccessCase
from remit.policy.exchange.enforcer import FUNCTIONS, CasbinRaisedError, Enforcer, LoadedRow, SourceRow
from remit.policy.exchange.finding import FindingId, Findings
from remit.policy.exchange.folder import loaded
from remit.policy.exchange.matcher import Clause, Group
from remit.policy.exchange.names import encode_segment, encode_word
from remit.policy.exchange.options import CasbinOptions, DomainReading, Imported, ObjectReading
from remit.policy.exchange.patterns import PATTERN_FUNCTIONS, Reading, Separated, UntranslatableError
from remit.policy.exchange.render import AccessAnswer, rows_file, tests_file, vocabulary_file
from remit.policy.exchange.shape import Shape, read_shape
from remit.policy.exchange.subjects import Subjects
from remit.policy.graph import check_graph

_T = TypeVar("_T")
Track = Callable[[Sequence[_T]], Iterable[_T]]
"""Hands a sequence through, and may show how far it is."""

_NONE: Final = "none"
_SHOWN: Final = 20
_ACTION_CHARACTERS: Final = frozenset("\\^$+?()[]{}|*.")


class _Permit(NamedTuple):
    """A `p` row by what its columns mean."""

    subject: str
    domain: str | None
    object: str
    action: str
    effect: Effect
    source: SourceRow

    @property
    def place(self) -> str:
        return self.source.place


class _Hold(NamedTuple):
    """A row of the role definition that the subject is asked by."""

    member: str
    held: str
    domain: str | None
    source: SourceRow


class _Home(NamedTuple):
    """A tenant to write, and the domain it stands for, if it stands for one."""

    tenant: Tenant
    domain: str | None


def import_casbin(
    enforcer: Enforcer,
    model: str,
    rows: Iterable[SourceRow],
    options: CasbinOptions,
    track: Track[tuple[str, ...]] = lambda items: items,
) -> Imported:
    """Translates a model (`model` is its file's name) and its rows. Nothing is written here."""
    findings = Findings(options.accepted)
    lines = list(rows)
    shape = read_shape(enforcer, model, findings)
    read = enforcer.load(lines, findings)
    if shape is None or findings.refused():
        return Imported({}, findings.found, len(read), 0)
    translation = _Translation(enforcer, shape, model, options, findings)
    files, cases = translation.files(read, track)
    return Imported({} if findings.refused() else files, findings.found, len(read), cases)


class _Translation:
    def __init__(
        self, enforcer: Enforcer, shape: Shape, model: str, options: CasbinOptions, findings: Findings
    ) -> None:
        self._enforcer = enforcer
        self._shape = shape
        self._model = model
        self._options = options
        self._findings = findings
        patterned = bool(set(shape.object.functions) & set(PATTERN_FUNCTIONS))
        grouped = shape.resources is not None and options.match.get(shape.resources.ptype, _NONE) != _NONE
        self._objects_are = options.objects or (
            ObjectReading.NAMESPACES if patterned or grouped else ObjectReading.KINDS
        )

    def files(self, read: Sequence[LoadedRow], track: Track[tuple[str, ...]]) -> tuple[dict[str, bytes], int]:
        """The files, README apart, and the number of cases in them."""
        _note(read, self._findings)
        permits = list(self._permits(read))
        holds = list(self._holds(read))
        self._register(read)
        self._domains = self._known_domains(permits, holds)
        homes = self._homes()
        if self._findings.refused():
            return {}, 0
        self._read_names(permits, holds, read)
        if self._findings.refused():
            return {}, 0
        content: dict[str, bytes] = {"vocabulary.yaml": vocabulary_file(self._kinds())}
        cases = 0
        for home in homes:
            rules = list(self._rules(permits, home))
            links = list(self._links(holds, rules, home))
            self._check(rules, links)
            if self._findings.refused():
                return {}, 0
            content[f"{home.tenant}/roles.csv"] = rows_file(
                "p, subject, tenant, namespaces, kind, actions, effect", rules
            )
            content[f"{home.tenant}/bindings.csv"] = rows_file("g, member, holds, scope", links)
            answers = self._answers(home, permits, track)
            cases += len(answers)
            content[f"{home.tenant}/tests/casbin.yaml"] = tests_file("what Casbin answered at the import", answers)
        if not self._findings.refused():
            tell_differences(content, self._findings)
        return content, cases

    def _permits(self, read: Iterable[LoadedRow]) -> Iterator[_Permit]:
        column = {name: index for index, name in enumerate(self._enforcer.columns)}
        shape = self._shape
        found = 0
        for row in read:
            if row.ptype != "p":
                continue
            effect = row.fields[column["eft"]] if "eft" in column else Effect.ALLOW
            domain = row.fields[column[shape.domain.column]] if shape.domain else None
            texts = [row.fields[column[clause.column]] for clause in (shape.subject, shape.object, shape.action)]
            if "" in (*texts, domain):
                self._findings.add(FindingId.EMPTY_FIELD, row.place, f"`{quote(row.source.text)}`")
            elif effect not in set(Effect):
                self._findings.add(
                    FindingId.EFFECT_UNKNOWN, row.place, f"`{quote(effect)}` is neither `allow` nor `deny`"
                )
            elif effect == Effect.DENY and shape.in_order:
                message = f"`{quote(row.source.text)}` under `{self._enforcer.effect}`"
                self._findings.add(FindingId.PRIORITY_EFFECT, row.place, message)
            elif effect == Effect.DENY and not shape.denies:
                message = f"`{quote(row.source.text)}` under `{self._enforcer.effect}`"
                self._findings.add(FindingId.DENY_WITHOUT_EFFECT, row.place, message)
            elif texts[0] in shape.subject.wildcards:
                self._findings.add(FindingId.WILDCARD_SUBJECT, row.place, f"`{quote(texts[0])}` as the subject")
            else:
                found += 1
                yield _Permit(texts[0], domain, texts[1], texts[2], Effect(effect), row.source)
        if not found:
            self._findings.add(FindingId.POLICY_EMPTY, self._model, "no `p` row counts")

    def _holds(self, read: Iterable[LoadedRow]) -> Iterator[_Hold]:
        group, resources = self._shape.roles, self._shape.resources
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
                self._findings.add(FindingId.EMPTY_FIELD, row.place, f"`{quote(row.source.text)}`")
            else:
                yield _Hold(row.fields[0], row.fields[1], domain, row.source)
        for ptype, place in sorted(unused):
            self._findings.add(FindingId.UNUSED_ROLE_DEFINITION, place, f"the matcher never asks `{ptype}`")

    def _register(self, read: Iterable[LoadedRow]) -> None:
        """The functions that the options name; a `*` whose meaning hangs on one that they do not name is refused."""
        rows = list(read)
        for group in filter(None, (self._shape.roles, self._shape.resources)):
            ptype = group.ptype
            mine = [row for row in rows if row.ptype == ptype]
            names = self._function(ptype, self._options.match, "--match", [(row, row.fields[:2]) for row in mine])
            if names is not None:
                self._enforcer.match_names(ptype, names)
                if group is self._shape.roles:
                    self._refuse_member_patterns(mine)
            if group.domain is not None:
                domains = [(row, row.fields[2:3]) for row in mine]
                function = self._function(ptype, self._options.match_domains, "--match-domains", domains)
                if function is not None:
                    self._enforcer.match_domains(ptype, function)

    def _function(
        self, ptype: str, named: Mapping[str, str], option: str, texts: Iterable[tuple[LoadedRow, Sequence[str]]]
    ) -> str | None:
        function = named.get(ptype)
        if function is None:
            for row, fields in texts:
                star = next((text for text in fields if "*" in text), None)
                if star is not None:
                    message = (
                        f"`{quote(star)}`: say `{option} {ptype}=keyMatch`, or another function, or `{ptype}=none`"
                    )
                    self._findings.add(FindingId.UNREGISTERED_FUNCTION, row.place, message)
        return None if function == _NONE else function

    def _refuse_member_patterns(self, rows: Iterable[LoadedRow]) -> None:
        for row in rows:
            star = next((text for text in row.fields[:2] if "*" in text), None)
            if star is not None:
                message = f"`{quote(star)}` for people or roles: remit has patterns of namespaces only"
                self._findings.add(FindingId.UNTRANSLATABLE_PATTERN, row.place, message)

    def _known_domains(self, permits: Iterable[_Permit], holds: Iterable[_Hold]) -> list[str]:
        named = [*(row.domain for row in permits), *(row.domain for row in holds)]
        wild = self._shape.domain.wildcards if self._shape.domain else frozenset()
        return sorted({domain for domain in named if domain and "*" not in domain and domain not in wild})

    def _homes(self) -> list[_Home]:
        options = self._options
        if not self._shape.has_domains or options.domains is DomainReading.NAMESPACES:
            if options.tenant is None:
                message = "name the tenant with `--tenant`: the policy names none"
                self._findings.add(FindingId.NAME_UNUSABLE, self._model, message)
                return []
            if self._shape.has_domains and self._objects_are is ObjectReading.NAMESPACES:
                message = "domains and objects cannot both be namespaces: leave `--domains` at tenants"
                self._findings.add(FindingId.UNSUPPORTED_REQUEST, self._model, message)
            return [_Home(options.tenant, None)]
        homes = []
        for domain in self._domains:
            try:
                tenant = parse_tenant(encode_segment(domain))
            except InvalidNameError as error:
                self._findings.add(FindingId.NAME_UNUSABLE, self._model, f"domain `{quote(domain)}`: {error}")
                continue
            if tenant != domain:
                self._findings.add(
                    FindingId.NAME_MAPPED, self._model, f"domain `{quote(domain)}` becomes tenant `{tenant}`"
                )
            homes.append(_Home(tenant, domain))
        if options.tenant is not None and [home.tenant for home in homes] != [options.tenant]:
            found = ", ".join(f"`{home.tenant}`" for home in homes) or "none"
            message = (
                f"the policy's domains become tenants ({found}): leave out `--tenant`, or say `--domains namespaces`"
            )
            self._findings.add(FindingId.NAME_UNUSABLE, self._model, message)
        return homes

    def _domain_patterns(
        self, domain: str | None, clause: Clause, effect: Effect, place: str
    ) -> list[NamespacePattern]:
        """Where a row holds, where domains are namespaces."""
        if domain is None:
            return [EVERYWHERE]
        return [NamespacePattern.parse(each) for each in self._namespaces(self._dotted, domain, clause, effect, place)]

    def _counts_in(self, domain: str | None, clause: Clause | None, home: _Home, place: str) -> bool:
        """Whether a row of a domain counts in a tenant, where domains are tenants."""
        if domain is None or home.domain is None:
            return True
        if clause is None:
            return domain == home.domain
        if domain in clause.wildcards:
            self._findings.add(FindingId.WILDCARD_DOMAIN, place, f"`{quote(domain)}`: copied into {len(self._domains)}")
            return True
        if clause.equal and domain == home.domain:
            return True
        matches = any(_matches(function, home.domain, domain) for function in clause.functions)
        if matches and domain != home.domain:
            self._findings.add(FindingId.WILDCARD_DOMAIN, place, f"`{quote(domain)}`: copied into each that it matches")
        return matches

    def _read_names(self, permits: Sequence[_Permit], holds: Sequence[_Hold], read: Iterable[LoadedRow]) -> None:
        findings = self._findings
        self._subjects = Subjects(
            [(row.member, row.held) for row in holds], (*self._options.persons, *self._shape.superusers), findings
        )
        held = {row.held for row in holds}
        self._people: dict[str, Subject] = {}
        places = {name: row.source.place for row in reversed(holds) for name in (row.held, row.member)}
        places |= {row.subject: row.place for row in reversed(permits)} | dict.fromkeys(
            self._shape.superusers, self._model
        )
        for name in (*places, *self._options.persons):
            principal = self._subjects.principal(name, places.get(name, self._model))
            if principal is not None:
                self._people[name] = principal
        for person in self._options.persons:
            if person not in held:
                findings.add(FindingId.NAME_UNUSABLE, self._model, f"`--person {quote(person)}`: nobody holds it")
        if held - set(self._options.persons):
            names = ", ".join(f"`{quote(name)}`" for name in sorted(held)[:_SHOWN])
            findings.add(FindingId.ROLE_AS_SUBJECT, self._model, f"{names}: say `--person NAME` for one that asks")
        members = {row.member for row in holds}
        for row in permits:
            if self._shape.roles and row.subject not in held and row.subject not in members:
                findings.add(FindingId.SUBJECT_AMBIGUOUS, row.place, f"`{quote(row.subject)}`")
        self._resources = [row for row in read if self._shape.resources and row.ptype == self._shape.resources.ptype]
        groups = {row.fields[1] for row in self._resources}
        self._names_of_objects = self._concrete_objects(permits, groups)
        self._read_actions(permits)
        try:
            self._dotted = Separated(self._domains)
            self._separated = Separated(
                [
                    *(row.object for row in permits if row.object not in groups),
                    *(row.fields[0] for row in self._resources if row.fields[0] not in groups),
                    *self._options.objects_more,
                ]
                if self._objects_are is ObjectReading.NAMESPACES
                else ()
            )
        except UntranslatableError as error:
            findings.add(FindingId.UNTRANSLATABLE_PATTERN, self._model, str(error))
        self._words: dict[str, Word] = {}
        objects = self._kind_names
        for name in (*objects, *self._actions):
            self._word(name)
        for what, named in (
            ("object", self._names_of_objects),
            ("action", self._actions),
            ("subject", sorted({*places})),
        ):
            for twins in _case_twins(named):
                findings.add(FindingId.CASE_TWINS, self._model, f"{what}s {', '.join(f'`{quote(n)}`' for n in twins)}")
        for what, words in (("object", objects), ("action", self._actions)):
            if not words:
                findings.add(FindingId.MISSING_WORD, self._model, f"no row names an {what}: say `--{what} NAME`")

    def _concrete_objects(self, permits: Iterable[_Permit], groups: set[str]) -> list[str]:
        named = [*(row.object for row in permits), *(row.fields[0] for row in self._resources)]
        wild = self._shape.object.wildcards
        signs = set("*:{") if self._objects_are is ObjectReading.NAMESPACES else set("*")
        found = [name for name in named if name not in wild and name not in groups and not signs & set(name)]
        return list(dict.fromkeys([*found, *self._options.objects_more]))

    def _read_actions(self, permits: Iterable[_Permit]) -> None:
        clause = self._shape.action
        names: dict[str, None] = {}
        for row in permits:
            if row.action in clause.wildcards or (clause.functions and row.action in {"*", ".*"}):
                continue
            if "regexMatch" in clause.functions:
                parts = _alternatives(row.action)
                if parts is None:
                    message = f"`{quote(row.action)}` as an action: expected names joined by `|`, or `.*`"
                    self._findings.add(FindingId.UNTRANSLATABLE_PATTERN, row.place, message)
                names |= dict.fromkeys(parts or ())
            elif "*" in row.action and clause.functions:
                message = f"`{quote(row.action)}` as an action: expected a name, or `*`"
                self._findings.add(FindingId.UNTRANSLATABLE_PATTERN, row.place, message)
            elif "*" in row.action:
                self._findings.add(FindingId.NEVER_ASKED, row.place, f"`{quote(row.action)}`")
            else:
                names[row.action] = None
        self._actions = list(dict.fromkeys([*names, *self._options.actions_more]))

    def _word(self, name: str) -> Word | None:
        known = self._words.get(name)
        if known is not None:
            return known
        word = encode_word(name)
        if not is_word(word):
            self._findings.add(FindingId.NAME_UNUSABLE, self._model, f"`{quote(name)}` is too long for a word")
            return None
        if word != name:
            self._findings.add(FindingId.NAME_MAPPED, self._model, f"`{quote(name)}` becomes `{word}`")
        self._words[name] = Word(word)
        return self._words[name]

    def _kinds(self) -> list[Kind]:
        namespaced = self._objects_are is ObjectReading.NAMESPACES or self._domains_are_namespaces
        kind_class = KindClass.NAMESPACE if namespaced else KindClass.TENANT
        actions = frozenset(self._words[name] for name in self._actions)
        return [Kind(self._words[name], kind_class, actions) for name in dict.fromkeys(self._kind_names)]

    @property
    def _kind_names(self) -> list[str]:
        """In the original's words."""
        return self._names_of_objects if self._objects_are is ObjectReading.KINDS else [self._options.kind]

    @property
    def _domains_are_namespaces(self) -> bool:
        return self._shape.has_domains and self._options.domains is DomainReading.NAMESPACES

    def _rules(self, permits: Sequence[_Permit], home: _Home) -> Iterator[Rule]:
        shape = self._shape
        for row in permits:
            if not self._domains_are_namespaces and not self._counts_in(row.domain, shape.domain, home, row.place):
                continue
            subject = self._subjects.holder(row.subject, row.place)
            actions = self._actions_of(row)
            if subject is None or actions is None:
                continue
            for namespaces, kinds in self._places_of(row, home):
                yield Rule(
                    subject, home.tenant, namespaces, kinds, actions, row.effect, row.source.file, row.source.line
                )
        denied = shape.denies and any(row.effect is Effect.DENY for row in permits)
        for name in shape.superusers:
            effect = Effect.DENY if denied else Effect.ALLOW
            said = "everything, for the matcher lets it through the deny rows too" if denied else "everything"
            self._findings.add(FindingId.SUPERUSER, self._model, f"`{quote(name)}` by the matcher: {effect} {said}")
            yield Rule(self._people[name], home.tenant, EVERYWHERE, ANY, ANY, effect, self._model, 0)

    def _places_of(self, row: _Permit, home: _Home) -> Iterator[tuple[NamespacePattern, tuple[Word, ...]]]:
        """The namespaces and kinds that stand for a row's object and domain."""
        clause = self._shape.object
        if self._objects_are is ObjectReading.NAMESPACES:
            kind = (self._words[self._options.kind],)
            for text in self._object_namespaces(row, clause, home):
                yield NamespacePattern.parse(text), kind
            return
        kinds = self._object_kinds(row, clause, home)
        if not kinds:
            return
        where = [EVERYWHERE]
        if self._domains_are_namespaces and self._shape.domain is not None:
            where = self._domain_patterns(row.domain, self._shape.domain, row.effect, row.place)
        for namespaces in where:
            yield namespaces, kinds

    def _object_kinds(self, row: _Permit, clause: Clause, home: _Home) -> tuple[Word, ...]:
        if row.object in clause.wildcards or (row.object == "*" and set(clause.functions) & {"keyMatch", "keyMatch2"}):
            self._findings.add(FindingId.WILDCARD_OBJECT, row.place, f"`{quote(row.object)}`")
            return ANY
        if clause.functions and set(row.object) & set("*:{"):
            message = f"`{quote(row.object)}` is a pattern: say `--objects namespaces`"
            self._findings.add(FindingId.UNTRANSLATABLE_PATTERN, row.place, message)
            return ()
        if clause.group is not None:
            domain = (home.domain,) if clause.group.domain and home.domain is not None else ()
            if clause.group.domain and not domain:
                message = f"`{clause.group.ptype}` by domain: leave `--domains` at tenants"
                self._findings.add(FindingId.UNSUPPORTED_MATCHER, self._model, message)
                return ()
            held = [
                name
                for name in self._names_of_objects
                if self._enforcer.holds(clause.group.ptype, name, row.object, *domain)
            ]
        else:
            held = [row.object]
        if "*" in row.object and not clause.functions:
            self._findings.add(FindingId.NEVER_ASKED, row.place, f"`{quote(row.object)}`")
        return tuple(self._words[name] for name in held if name in self._words)

    def _object_namespaces(self, row: _Permit, clause: Clause, home: _Home) -> Iterator[str]:
        groups = {each.fields[1] for each in self._resources}
        if row.object in clause.wildcards:
            self._findings.add(FindingId.WILDCARD_OBJECT, row.place, f"`{quote(row.object)}`")
            yield EVERYWHERE.text
            return
        if clause.group is None or row.object not in groups:
            literal = Clause(clause.column, clause.equal or clause.group is not None, frozenset(), clause.functions)
            yield from self._namespaces(self._separated, row.object, literal, row.effect, row.place)
            return
        function = self._options.match.get(clause.group.ptype, _NONE)
        domain = (home.domain,) if clause.group.domain and home.domain is not None else ()
        for member in dict.fromkeys(each.fields[0] for each in self._resources):
            if member not in groups and self._enforcer.holds(clause.group.ptype, member, row.object, *domain):
                functions = () if function == _NONE else (function,)
                reading = Clause(clause.column, equal=function == _NONE, functions=functions)
                yield from self._namespaces(self._separated, member, reading, row.effect, row.place)

    def _namespaces(self, names: Separated, text: str, clause: Clause, effect: Effect, place: str) -> Iterator[str]:
        """The patterns that cover what a column's text stands for."""
        if text in clause.wildcards:
            yield EVERYWHERE.text
            return
        readings: list[Reading] = []
        if "*" in text and not clause.functions:
            self._findings.add(FindingId.NEVER_ASKED, place, f"`{quote(text)}`")
            return
        try:
            if not clause.functions:
                readings.append(Reading(names.namespace(text)))
            readings += [names.pattern(text, function) for function in clause.functions]
        except UntranslatableError as error:
            self._findings.add(FindingId.UNTRANSLATABLE_PATTERN, place, str(error))
            return
        for reading in readings:
            if reading.narrowed is not None:
                message = f"`{quote(text)}` would become `{reading.pattern}`"
                self._findings.narrow(reading.narrowed, place, message, effect)
            if reading.told is not None:
                self._findings.add(reading.told, place, f"`{quote(text)}` becomes `{reading.pattern}`")
            if reading.pattern == EVERYWHERE.text:
                self._findings.add(FindingId.WILDCARD_OBJECT, place, f"`{quote(text)}`")
            try:
                yield NamespacePattern.parse(reading.pattern).text
            except InvalidNameError as error:
                self._findings.add(FindingId.NAME_UNUSABLE, place, str(error))

    def _actions_of(self, row: _Permit) -> tuple[Word, ...] | None:
        clause = self._shape.action
        if row.action in clause.wildcards or (row.action in {"*", ".*"} and clause.functions):
            self._findings.add(FindingId.WILDCARD_ACTION, row.place, f"`{quote(row.action)}`")
            return ANY
        if "regexMatch" in clause.functions:
            named = set(_alternatives(row.action) or ())
            found = [name for name in self._actions if _matches("regexMatch", name, row.action)]
            for name in found:
                if name not in named:
                    message = f"`{quote(row.action)}` also matches `{quote(name)}`, which begins alike"
                    self._findings.add(FindingId.REGEX_PREFIX, row.place, message)
            return tuple(self._words[name] for name in found) or None
        return (self._words[row.action],) if row.action in self._words else None

    def _links(self, holds: Sequence[_Hold], rules: Sequence[Rule], home: _Home) -> Iterator[Link]:
        links = [
            *(link for row in holds for link in self._link(row, home)),
            *self._person_links(home),
        ]
        defined = {rule.subject for rule in rules}
        while True:
            held = {link.member for link in links} | defined
            kept = [link for link in links if not link.holds.startswith("role:") or link.holds in held]
            for link in links:
                if link not in kept:
                    self._findings.add(FindingId.ROLE_WITHOUT_RULES, link.place, f"`{link.holds}` in `{home.tenant}`")
            if len(kept) == len(links):
                yield from kept
                return
            links = kept

    def _link(self, row: _Hold, home: _Home) -> Iterator[Link]:
        place = row.source.place
        if row.member == row.held:
            return
        scopes = [EVERYWHERE]
        group = self._shape.roles or Group("g", None)
        function = self._options.match_domains.get(group.ptype, _NONE)
        clause = Clause("", equal=function == _NONE, functions=() if function == _NONE else (function,))
        if row.domain is not None:
            if "*" in row.domain and function == _NONE:
                self._findings.add(FindingId.NEVER_ASKED, place, f"`{quote(row.domain)}`")
                return
            if self._domains_are_namespaces:
                scopes = self._domain_patterns(row.domain, clause, Effect.DENY, place)
            # Casbin takes the links of the domain itself first, then of those that the function finds.
            elif row.domain != home.domain and not self._counts_in(row.domain, clause, home, place):
                return
        member, held = self._subjects.holder(row.member, place), self._subjects.holder(row.held, place)
        for scope in scopes:
            if member is not None and held is not None:
                yield Link(member, held, home.tenant, scope, row.source.file, row.source.line)

    def _person_links(self, home: _Home) -> Iterator[Link]:
        for name in self._options.persons:
            role = self._subjects.holder(name, self._model)
            if role is not None and name in self._people:
                yield Link(self._people[name], role, home.tenant, EVERYWHERE, self._model, 0)

    def _check(self, rules: Sequence[Rule], links: Sequence[Link]) -> None:
        def refuse(row: Rule | Link | ReachRule, _field: int, message: str) -> None:
            finding = FindingId.ROLE_CYCLE if message.startswith("a cycle") else FindingId.CHAIN_TOO_LONG
            self._findings.add(finding, row.place, message)

        check_graph(rules, links, (), refuse)

    def _answers(self, home: _Home, permits: Sequence[_Permit], track: Track[tuple[str, ...]]) -> list[AccessAnswer]:
        domains: Sequence[str | None] = [home.domain]
        if self._domains_are_namespaces:
            domains = self._probed(self._dotted, self._domains, [row.domain for row in permits if row.domain])
        objects: Sequence[str] = self._names_of_objects
        if self._objects_are is ObjectReading.NAMESPACES:
            patterns = [*(row.object for row in permits), *(row.fields[0] for row in self._resources)]
            groups = {row.fields[1] for row in self._resources}
            objects = self._probed(self._separated, objects, [each for each in patterns if each not in groups])
        questions = list(product(self._people, domains, objects, self._actions))
        if len(questions) > self._options.cases:
            message = f"{self._options.cases} of {len(questions)} questions in `{home.tenant}`"
            self._findings.add(FindingId.CASES_SAMPLED, self._model, message)
            kept = sorted(Random(0).sample(range(len(questions)), self._options.cases))
            questions = [questions[index] for index in kept]
        found = (self._answer(question) for question in track([tuple(each or "" for each in q) for q in questions]))
        return [answer for answer in found if answer is not None]

    def _probed(self, names: Separated, concrete: Iterable[str], patterns: Iterable[str]) -> list[str]:
        """The names themselves, and names in and around the patterns: those of them that are namespaces."""
        found = dict.fromkeys(concrete)
        for pattern in patterns:
            found |= dict.fromkeys(names.probes(pattern))
        return [name for name in found if _is_namespace(names, name)]

    def _answer(self, question: tuple[str, ...]) -> AccessAnswer | None:
        subject, domain, thing, action = question
        values = {"subject": subject, "domain": domain, "object": thing, "action": action}
        try:
            allowed = self._enforcer.allows(*(values[field] for field in self._shape.fields))
        except CasbinRaisedError as error:
            asked = ", ".join(values[field] for field in self._shape.fields)
            self._findings.add(FindingId.CASBIN_RAISES, self._model, f"`{quote(asked)}`: {error}")
            return None
        namespace = ""
        if self._objects_are is ObjectReading.NAMESPACES:
            kind, namespace = self._words[self._options.kind], self._separated.namespace(thing)
        else:
            kind = self._words[thing]
            if self._domains_are_namespaces:
                namespace = self._dotted.namespace(domain)
        effect = Effect.ALLOW if allowed else Effect.DENY
        return AccessAnswer(self._people[subject], self._words[action], kind, namespace, effect)


def _note(read: Iterable[LoadedRow], findings: Findings) -> None:
    """What is odd about rows whatever they mean."""
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


def tell_differences(files: Mapping[str, bytes], findings: Findings) -> None:
    """Loads the files and runs their tests: what does not hold is a finding that refuses the import."""
    try:
        tenants = loaded(files)
    except PolicyError as error:
        for each in error.diagnostics[:_SHOWN]:
            findings.add(FindingId.ANSWERS_DIFFER, each.file, f"the files would not load: {each.message}")
        return
    for tenant in tenants.values():
        failures = {failure.diagnostic: failure for failure in tenant.failures}
        for each in tenant.diagnostics[:_SHOWN]:
            failure = failures.get(each)
            if failure is not None and isinstance(failure.case, AccessCase):
                message = (
                    f"{failure.asked} in `{tenant.tenant}`: the original says {failure.expected}, the translation "
                )
                findings.add(FindingId.ANSWERS_DIFFER, each.file, message + failure.actual)
            else:
                findings.add(FindingId.ANSWERS_DIFFER, each.file, each.message)


def _matches(function: str, value: str, pattern: str) -> bool:
    try:
        return bool(FUNCTIONS[function](value, pattern))
    except Exception:  # noqa: BLE001 (as Casbin's own role manager: a function that raises does not match)
        return False


def _alternatives(text: str) -> list[str] | None:
    """The names of `A`, `A|B` and `(A)|(B)`; None for any other expression."""
    parts = [
        part[1:-1] if part.startswith("(") and part.endswith(")") else part for part in text.strip("^$").split("|")
    ]
    return parts if all(part and not _ACTION_CHARACTERS & set(part) for part in parts) else None


def _case_twins(names: Iterable[str]) -> list[list[str]]:
    folded: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        folded.setdefault(name.casefold(), []).append(name)
    return [twins for twins in folded.values() if len(twins) > 1]


def _is_namespace(names: Separated, text: str) -> bool:
    try:
        parse_namespace(names.namespace(text))
    except (UntranslatableError, InvalidNameError):
        return False
    return True
