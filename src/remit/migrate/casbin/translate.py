"""Translates a Casbin policy to policy files, with Casbin's answers of today as their tests."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from remit.core.names import quote
from remit.core.patterns import EVERYWHERE
from remit.core.rows import ANY, Effect, Link, ReachRule, Rule
from remit.core.vocabulary import KindClass
from remit.migrate.answer_check import report_differences
from remit.migrate.casbin.context import ImportContext
from remit.migrate.casbin.enforcer import CasbinRaisedError, Enforcer, LoadedRow, SourceRow
from remit.migrate.casbin.matcher import MatcherClause
from remit.migrate.casbin.model import read_shape
from remit.migrate.casbin.patterns import is_pattern, looks_like_a_pattern
from remit.migrate.casbin.placement import Placement, TenantHome
from remit.migrate.casbin.rows import Hold, ModelRows, rows_by_meaning
from remit.migrate.casbin.vocabulary import ImportedVocabulary, alternatives
from remit.migrate.finding import FindingId, Findings
from remit.migrate.options import NO_FUNCTION, CasbinOptions, Imported
from remit.migrate.render import LINK_HEAD, RULE_HEAD, AccessAnswer, cases_file, rows_file, vocabulary_file
from remit.migrate.sampling import sampled
from remit.policy.read.role_graph_check import check_graph

Question = tuple[str, str, str, str]
"""Subject, domain (empty if there is none), object and action, in Casbin's words."""
Track = Callable[[Sequence[Question]], Iterable[Question]]
"""Passes the questions through, and may show progress."""


def import_casbin(
    enforcer: Enforcer,
    model: str,
    lines: Iterable[SourceRow],
    options: CasbinOptions,
    track: Track = lambda questions: questions,
) -> Imported:
    """Translates a model (`model` is its file's name) and its rows. Writes nothing."""
    findings = Findings(options.accepted)
    shape = read_shape(enforcer, model, findings)
    read = enforcer.load(lines, findings)
    if shape is None or findings.refused():
        return Imported({}, findings.found, len(read), 0)
    origin = ImportContext(enforcer, shape, model, options, findings)
    _register(origin, read)
    rows = rows_by_meaning(read, origin)
    lexicon = ImportedVocabulary(rows, origin)
    places = Placement(rows, lexicon, origin)
    homes = places.homes()
    if findings.refused():
        return Imported({}, findings.found, len(read), 0)
    translation = _CasbinTranslation(rows, lexicon, places, origin)
    namespaced = places.objects_are_namespaces or places.domains_are_namespaces
    kinds = lexicon.kinds(KindClass.NAMESPACE if namespaced else KindClass.TENANT)
    files = {"vocabulary.yaml": vocabulary_file(kinds)}
    cases = 0
    for home in homes:
        files |= translation.rows_of(home)
        if not findings.refused():
            answers = translation.answers_in(home, track)
            files[f"{home.tenant}/tests/casbin.yaml"] = cases_file("what Casbin answered at the import", answers)
            cases += len(answers)
    if not findings.refused():
        report_differences(files, findings)
    return Imported({} if findings.refused() else files, findings.found, len(read), cases)


_GO_DOMAINS: Final = "Casbin for Go registers `keyMatch` for domains by itself where the matcher holds `keyMatch(r.dom, p.dom)`, for Python not"


class _CasbinTranslation:
    def __init__(self, rows: ModelRows, lexicon: ImportedVocabulary, places: Placement, origin: ImportContext) -> None:
        self._rows = rows
        self._lexicon = lexicon
        self._places = places
        self._enforcer = origin.enforcer
        self._shape = origin.shape
        self._model = origin.model
        self._options = origin.options
        self._findings = origin.findings

    def rows_of(self, home: TenantHome) -> dict[str, bytes]:
        rules = [*self._rules(home), *self._superusers(home)]
        links = self._links(rules, home)
        check_graph(rules, links, (), self._refuse)
        return {
            f"{home.tenant}/roles.csv": rows_file(RULE_HEAD, rules),
            f"{home.tenant}/bindings.csv": rows_file(LINK_HEAD, links),
        }

    def answers_in(self, home: TenantHome, track: Track) -> list[AccessAnswer]:
        """Casbin's answers for the people, objects and actions of the policy."""
        domains, objects = self._places.asked(home)
        axes = (list(self._lexicon.people), domains, objects, self._lexicon.actions)
        questions, total = sampled(axes, self._options.cases)
        if len(questions) < total:
            message = f"{len(questions)} of {total} questions in `{home.tenant}`"
            self._findings.add(FindingId.CASES_SAMPLED, self._model, message)
        found = map(self._answer, track(questions))
        return [answer for answer in found if answer is not None]

    def _rules(self, home: TenantHome) -> Iterator[Rule]:
        for row in self._rows.permits:
            if not self._places.counts_in(row.domain, self._shape.domain, home, row.place):
                continue
            subject = self._lexicon.subjects.holder(row.subject, row.place)
            actions = self._lexicon.permitted(row.action)
            if actions is None:
                self._findings.add(FindingId.WILDCARD_ACTION, row.place, f"`{quote(row.action)}`")
            else:
                self._report_prefixes(row.action, actions, row.place)
            words = ANY if actions is None else tuple(self._lexicon.words[name] for name in actions)
            for namespaces, kinds in self._places.of(row, home) if subject and words else ():
                if subject is not None:
                    place = (row.source.file, row.source.line)
                    yield Rule(subject, home.tenant, namespaces, kinds, words, row.effect, *place)

    def _report_prefixes(self, text: str, covered: Iterable[str], place: str) -> None:
        if "regexMatch" in self._shape.action.functions:
            for name in set(covered) - set(alternatives(text) or ()):
                message = f"`{quote(text)}` also matches `{quote(name)}`, which begins alike"
                self._findings.add(FindingId.REGEX_PREFIX, place, message)

    def _superusers(self, home: TenantHome) -> Iterator[Rule]:
        """Rules for the subjects that the matcher allows for every row: the combined effect of all rows, everywhere."""
        effects = self._rows.effects
        denied = self._shape.denies and Effect.DENY in effects
        allowed = Effect.ALLOW in effects or not effects
        effect = Effect.ALLOW if allowed and not denied else Effect.DENY
        for name in self._shape.superusers:
            message = f"`{quote(name)}` by the matcher, whatever a row says: {effect}"
            self._findings.add(FindingId.SUPERUSER, self._model, message)
            yield Rule(self._lexicon.people[name], home.tenant, EVERYWHERE, ANY, ANY, effect, self._model, 0)

    def _links(self, rules: Iterable[Rule], home: TenantHome) -> list[Link]:
        links = [*(link for row in self._rows.holds for link in self._link(row, home)), *self._persons(home)]
        with_rules = {rule.subject for rule in rules}
        while True:
            defined = with_rules | {link.member for link in links}
            empty = [link for link in links if not link.holds.startswith("group:") and link.holds not in defined]
            if not empty:
                return links
            for link in empty:
                self._findings.add(FindingId.ROLE_WITHOUT_RULES, link.place, f"`{link.holds}` in `{home.tenant}`")
            links = [link for link in links if link.holds.startswith("group:") or link.holds in defined]

    def _link(self, row: Hold, home: TenantHome) -> Iterator[Link]:
        if row.member == row.held:
            return
        scopes = [EVERYWHERE]
        if row.domain is not None and self._shape.roles is not None:
            function = self._options.match_domains.get(self._shape.roles.ptype, NO_FUNCTION)
            functions = () if function == NO_FUNCTION else (function,)
            # Casbin first takes the rows with exactly this domain, whatever the function returns for it.
            clause = MatcherClause("", equal=True, functions=functions)
            if "*" in row.domain and not functions:
                hint = f"; {_GO_DOMAINS}" if _go_matches_domains(self._enforcer) else ""
                self._findings.add(FindingId.NEVER_ASKED, row.place, f"`{quote(row.domain)}`{hint}")
                return
            if not self._places.counts_in(row.domain, clause, home, row.place):
                return
            if self._places.domains_are_namespaces:
                # A membership may lead to a deny, so it is never narrowed.
                scopes = self._places.scopes(row.domain, clause, Effect.DENY, row.place)
        subjects = self._lexicon.subjects
        member, held = subjects.holder(row.member, row.place), subjects.holder(row.held, row.place)
        for scope in scopes:
            if member is not None and held is not None:
                yield Link(member, held, home.tenant, scope, row.source.file, row.source.line)

    def _persons(self, home: TenantHome) -> Iterator[Link]:
        """Links a person with a role's name to that role: Casbin does so without a row."""
        for name in self._options.persons:
            role = self._lexicon.subjects.holder(name, self._model)
            if role is not None and name in self._lexicon.people:
                yield Link(self._lexicon.people[name], role, home.tenant, EVERYWHERE, self._model, 0)

    def _refuse(self, row: Rule | Link | ReachRule, _field: int, message: str) -> None:
        finding = FindingId.ROLE_CYCLE if message.startswith("a cycle") else FindingId.CHAIN_TOO_LONG
        self._findings.add(finding, row.place, message)

    def _answer(self, question: Question) -> AccessAnswer | None:
        subject, domain, thing, action = question
        values = {"subject": subject, "domain": domain, "object": thing, "action": action}
        asked = [values[field] for field in self._shape.fields]
        try:
            effect = Effect.ALLOW if self._enforcer.allows(*asked) else Effect.DENY
        except CasbinRaisedError as error:
            self._findings.add(FindingId.CASBIN_RAISES, self._model, f"`{quote(', '.join(asked))}`: {error}")
            return None
        kind, namespace = self._places.found_at(domain, thing)
        return AccessAnswer(self._lexicon.people[subject], self._lexicon.words[action], kind, namespace, effect)


def _register(origin: ImportContext, read: Sequence[LoadedRow]) -> None:
    """Registers the functions that the options name. Refuses likely patterns whose function the options do not name."""
    enforcer, options, findings = origin.enforcer, origin.options, origin.findings
    for clause in (origin.shape.subject, origin.shape.object):
        group = clause.group
        if group is None:
            continue
        rows = [row for row in read if row.ptype == group.ptype]
        column = enforcer.columns.index(clause.column)
        asked = [(row, row.fields[column]) for row in read if row.ptype == "p" and not clause.functions]
        asked = [(row, text) for row, text in asked if text not in clause.wildcards]
        members = [(row, text) for row in rows for text in row.fields[:2]]
        function = options.match.get(group.ptype)
        if function is None:
            _refuse_likely_patterns((*members, *asked), "--match", group.ptype, findings)
        elif function != NO_FUNCTION:
            enforcer.match_names(group.ptype, function)
            people = clause is origin.shape.subject
            _refuse_patterns(members if people else (), asked, function, findings, people=people)
        function = options.match_domains.get(group.ptype)
        if group.domain is None:
            continue
        if function is None:
            hint = f"; {_GO_DOMAINS}" if _go_matches_domains(enforcer) else ""
            domains = [(row, row.fields[2]) for row in rows]
            _refuse_likely_patterns(domains, "--match-domains", group.ptype, findings, hint)
        elif function != NO_FUNCTION:
            enforcer.match_domains(group.ptype, function)


def _refuse_likely_patterns(
    texts: Iterable[tuple[LoadedRow, str]], option: str, ptype: str, findings: Findings, hint: str = ""
) -> None:
    for row, text in texts:
        if looks_like_a_pattern(text):
            message = f"`{quote(text)}`: say `{option} {ptype}=keyMatch`, or another function, or `{ptype}=none`{hint}"
            findings.add(FindingId.UNREGISTERED_FUNCTION, row.place, message)


def _refuse_patterns(
    members: Iterable[tuple[LoadedRow, str]],
    asked: Iterable[tuple[LoadedRow, str]],
    function: str,
    findings: Findings,
    *,
    people: bool,
) -> None:
    """Refuses people and roles whose names are patterns, and `p` row names that only one Casbin takes as patterns."""
    for row, text in members:
        if is_pattern(function, text):
            message = f"`{quote(text)}` is a pattern to `{function}`: remit has patterns of namespaces only"
            findings.add(FindingId.UNTRANSLATABLE_PATTERN, row.place, message)
    for row, text in asked:
        if is_pattern(function, text):
            finding = FindingId.WILDCARD_SUBJECT if people and text == "*" else FindingId.UNTRANSLATABLE_PATTERN
            message = (
                f"`{quote(text)}` is a pattern to `{function}` in Casbin for Go, and plain text in Casbin for Python"
            )
            findings.add(finding, row.place, message)


def _go_matches_domains(enforcer: Enforcer) -> bool:
    return "keyMatch(r_dom, p_dom)" in enforcer.matcher
