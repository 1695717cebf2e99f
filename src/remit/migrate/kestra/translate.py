from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

from remit.core.errors import InvalidNameError
from remit.core.names import NAMESPACE_LIMIT, Subject, Tenant, Word, parse_namespace, parse_subject, quote
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.core.rows import Effect, Link, Rule
from remit.core.vocabulary import Kind
from remit.migrate.answer_check import report_differences
from remit.migrate.finding import FindingId, Findings
from remit.migrate.kestra import permissions as words
from remit.migrate.kestra.records import Binding, KestraGroup, RecordReader, Role, User, unique
from remit.migrate.name_mapping import encode_id
from remit.migrate.options import Imported
from remit.migrate.render import (
    LINK_HEAD,
    RULE_HEAD,
    AccessAnswer,
    cases_file,
    rows_file,
    scalar,
    vocabulary_file,
)
from remit.migrate.sampling import sampled

Actions = Mapping[str, frozenset[str]]
"""The 2.0 actions, by kind, that a role grants."""

_WIDE: Final = "%tenant"
"""The suffix of a role's name for its part that is bound to the whole tenant although the binding names a namespace.

No role's name can end so: a `%` in a name is always followed by hexadecimal digits.
"""


@dataclass(frozen=True, slots=True)
class KestraFiles:
    """The exported documents, each with its file's name. None if a document was not given."""

    roles: tuple[str, bytes]
    bindings: tuple[str, bytes]
    groups: tuple[str, bytes] | None = None
    users: tuple[str, bytes] | None = None
    access: tuple[str, bytes] | None = None


@dataclass(frozen=True, slots=True)
class KestraOptions:
    tenant: Tenant
    edition: int
    """1 or 2."""
    keep_tenant_wide: bool = False
    """Whether a binding on a namespace grants tenant kinds in the whole tenant, as it does in Kestra."""
    cases: int = 5_000


def import_kestra(files: KestraFiles, options: KestraOptions) -> Imported:
    """Translates the documents. Writes nothing."""
    findings = Findings()
    roles = RecordReader(*files.roles, findings).roles()
    bindings = RecordReader(*files.bindings, findings).bindings()
    groups = RecordReader(*files.groups, findings).groups() if files.groups else []
    users = RecordReader(*files.users, findings).users() if files.users else []
    access = RecordReader(*files.access, findings).ids() if files.access else None
    for records in (roles, groups, users):
        unique(records, findings)
    count = len(roles) + len(bindings) + len(groups) + len(users)
    if access is None:
        findings.add(FindingId.TENANT_ACCESS, files.bindings[0], "name it with `--access`, or list it in tenant.yaml")
    translation = _KestraTranslation(
        roles=roles,
        bindings=bindings,
        groups=groups,
        users=users,
        access=access,
        options=options,
        findings=findings,
    )
    written, cases = translation.files()
    return Imported({} if findings.refused() else written, findings.found, count, cases)


class _KestraTranslation:
    def __init__(
        self,
        *,
        roles: Sequence[Role],
        bindings: Sequence[Binding],
        groups: Sequence[KestraGroup],
        users: Sequence[User],
        access: Sequence[str] | None,
        options: KestraOptions,
        findings: Findings,
    ) -> None:
        self._roles = {role.id: role for role in roles}
        self._bindings = bindings
        self._groups = {group.id: group for group in groups}
        self._users = {user.id: user for user in users}
        self._access = access
        self._options = options
        self._findings = findings

    def files(self) -> tuple[dict[str, bytes], int]:
        grants = {role.id: self._grants(role) for role in self._roles.values()}
        links = [link for binding in self._bindings for link in self._bound(binding, grants)]
        links += [link for group in self._groups.values() for link in self._members(group)]
        # A role without a rule cannot be bound. Its holders gain nothing.
        wide = {link.holds for link in links if link.holds.endswith(_WIDE)}
        rules = [rule for role in self._roles.values() for rule in self._rules(role, grants[role.id], wide)]
        defined = {rule.subject for rule in rules}
        for link in links:
            if link.holds.startswith("role:") and link.holds not in defined:
                self._findings.add(FindingId.ROLE_WITHOUT_RULES, link.file, f"`{link.holds}`")
        links = [link for link in links if not link.holds.startswith("role:") or link.holds in defined]
        if self._findings.refused():
            return {}, 0
        tenant = self._options.tenant
        answers = self._answers(grants)
        files = {
            "vocabulary.yaml": vocabulary_file(words.kinds()),
            f"{tenant}/roles.csv": rows_file(RULE_HEAD, rules),
            f"{tenant}/bindings.csv": rows_file(LINK_HEAD, links),
            f"{tenant}/tests/kestra.yaml": cases_file("what Kestra grants", answers),
        }
        if self._access is not None:
            listed = [self._principal(each, "the access list") for each in self._access]
            names = ", ".join(scalar(each) for each in listed if each)
            files[f"{tenant}/tenant.yaml"] = f"access: [{names}]\n".encode()
        report_differences(files, self._findings)
        return files, len(answers)

    def _grants(self, role: Role) -> Actions:
        if role.default:
            self._findings.add(FindingId.DEFAULT_ROLE, role.place, f"`{quote(role.name)}`")
        if role.managed and not role.permissions:
            self._findings.add(FindingId.ROLE_WITHOUT_PERMISSIONS, role.place, f"`{quote(role.name)}`")
        found: dict[str, set[str]] = {}
        read = self._first_edition if self._options.edition == 1 else self._second_edition
        for permission, actions in role.permissions.items():
            for action in actions:
                for kind, granted in read(role, permission, action).items():
                    found.setdefault(kind, set()).update(granted)
        return {kind: frozenset(granted) for kind, granted in found.items() if granted}

    def _first_edition(self, role: Role, permission: str, verb: str) -> dict[str, set[str]]:
        what = f"{quote(permission)} {quote(verb)} of role `{quote(role.name)}`"
        if permission not in words.PERMISSIONS or verb not in words.VERBS:
            self._findings.add(FindingId.UNKNOWN_PERMISSION, role.place, f"{what}: expected one of Kestra 1.x")
            return {}
        if (permission, verb) == ("EXECUTION", "CREATE"):
            self._findings.add(FindingId.EXECUTION_CREATE, role.place, what)
            return {}
        if (permission, verb) == ("FLOW", "UPDATE"):
            self._findings.add(FindingId.FLOW_UPDATE_EXECUTES, role.place, what)
        migrated = words.migrated(permission, verb)
        if not any(migrated.values()):
            self._findings.add(FindingId.PERMISSION_DROPPED, role.place, what)
        if permission in words.MERGED:
            mapping = "; ".join(f"{kind} {', '.join(actions)}" for kind, actions in migrated.items())
            self._findings.add(FindingId.PERMISSION_MERGED, role.place, f"{what}: {mapping}")
        if (permission, verb) in words.SPLIT:
            self._findings.add(FindingId.PERMISSION_SPLIT, role.place, f"{what}: {words.SPLIT[permission, verb]}")
        return {kind: self._checked(kind, actions, what, role) for kind, actions in migrated.items()}

    def _second_edition(self, role: Role, kind: str, action: str) -> dict[str, set[str]]:
        what = f"{quote(kind)} {quote(action)} of role `{quote(role.name)}`"
        if kind in words.INSTANCE:
            self._findings.add(FindingId.INSTANCE_PERMISSION, role.place, what)
            return {}
        if kind in words.UNDOCUMENTED:
            self._findings.add(FindingId.PERMISSION_DROPPED, role.place, what)
            return {}
        if kind in words.ACTIONS and action == "READ":
            self._findings.add(FindingId.READ_ALIAS, role.place, what)
            action = "VIEW"
        every = frozenset().union(*words.ACTIONS.values()) | words.UNCHECKED
        if kind not in words.ACTIONS or action not in every:
            self._findings.add(FindingId.UNKNOWN_PERMISSION, role.place, f"{what}: expected one of Kestra 2.0")
            return {}
        return {kind: self._checked(kind, (action,), what, role)}

    def _checked(self, kind: str, actions: Sequence[str], what: str, role: Role) -> set[str]:
        unchecked = [action for action in actions if action not in words.ACTIONS[kind]]
        if unchecked:
            self._findings.add(FindingId.ACTION_UNCHECKED, role.place, f"{what}: {kind} {', '.join(unchecked)}")
        return {action for action in actions if action in words.ACTIONS[kind]}

    def _rules(self, role: Role, granted: Actions, wide: Collection[str]) -> Iterator[Rule]:
        subject = self._subject("role", role.name, role.place)
        if subject is None:
            return
        yield from self._rows(subject, granted, role)
        if f"{subject}{_WIDE}" in wide:
            part = {kind: actions for kind, actions in granted.items() if kind in words.TENANT_WIDE}
            yield from self._rows(Subject(f"{subject}{_WIDE}"), part, role)

    def _rows(self, subject: Subject, granted: Actions, role: Role) -> Iterator[Rule]:
        for kind, actions in granted.items():
            twin, its_actions = words.TWINS.get(kind, ("", ""))
            for name, held in ((kind, actions), (twin, actions & frozenset(its_actions.split()))):
                if held:
                    yield Rule(
                        subject,
                        self._options.tenant,
                        EVERYWHERE,
                        (Word(name),),
                        tuple(Word(each) for each in sorted(held)),
                        Effect.ALLOW,
                        role.place,
                        0,
                    )

    def _bound(self, binding: Binding, grants: Mapping[str, Actions]) -> Iterator[Link]:
        role = self._roles.get(binding.role)
        if role is None:
            self._findings.add(FindingId.UNKNOWN_ROLE, binding.place, f"`{quote(binding.role)}`")
            return
        holder = self._holder(binding)
        subject = self._subject("role", role.name, role.place)
        scope = self._scope(binding)
        if holder is None or subject is None or scope is None:
            return
        yield Link(holder, subject, self._options.tenant, scope, binding.place, 0)
        if binding.namespace:
            self._report_traps(binding, role, grants[role.id])
            if self._options.keep_tenant_wide and words.TENANT_WIDE.keys() & grants[role.id].keys():
                wide = Subject(f"{subject}{_WIDE}")
                yield Link(holder, wide, self._options.tenant, EVERYWHERE, binding.place, 0)

    def _report_traps(self, binding: Binding, role: Role, granted: Actions) -> None:
        where = f"role `{quote(role.name)}` in `{binding.namespace}`"
        wide = sorted(words.TENANT_WIDE.keys() & granted.keys())
        if wide:
            outcome = "kept, as said" if self._options.keep_tenant_wide else "not here; `--keep-tenant-wide` keeps it"
            self._findings.add(FindingId.MIXED_CLASS_ROLE, binding.place, f"{where}: {', '.join(wide)}; {outcome}")
        nothing = sorted(words.TENANT_ONLY.keys() & granted.keys())
        if nothing:
            self._findings.add(FindingId.TENANT_ONLY_KIND, binding.place, f"{where}: {', '.join(nothing)}")
        if words.DELEGATED.keys() & granted.keys():
            self._findings.add(FindingId.BINDING_DELEGATION, binding.place, where)
        if granted.get("NAMESPACE", frozenset()) & {"CREATE", "DELETE"}:
            self._findings.add(FindingId.NAMESPACE_PARENT, binding.place, where)

    def _scope(self, binding: Binding) -> NamespacePattern | None:
        if not binding.namespace:
            return EVERYWHERE
        try:
            return NamespacePattern.parse(f"{parse_namespace(binding.namespace)}.**")
        except InvalidNameError as error:
            self._findings.add(FindingId.NAME_UNUSABLE, binding.place, str(error))
            return None

    def _holder(self, binding: Binding) -> Subject | None:
        if not binding.group:
            return self._principal(binding.holder, binding.place)
        group = self._groups.get(binding.holder)
        if group is None:
            self._findings.add(FindingId.UNKNOWN_GROUP, binding.place, f"`{quote(binding.holder)}`")
        return self._subject("group", binding.holder if group is None else group.name, binding.place)

    def _members(self, group: KestraGroup) -> Iterator[Link]:
        holder = self._subject("group", group.name, group.place)
        for member in group.members:
            principal = self._principal(member, group.place)
            if holder is not None and principal is not None:
                yield Link(principal, holder, self._options.tenant, EVERYWHERE, group.place, 0)

    def _principal(self, identity: str, place: str) -> Subject | None:
        user = self._users.get(identity)
        if user is None:
            return self._subject("user", identity, place)
        return self._subject("service" if user.service else "user", user.name, user.place)

    def _subject(self, prefix: str, name: str, place: str) -> Subject | None:
        try:
            subject = parse_subject(f"{prefix}:{encode_id(name)}")
        except InvalidNameError as error:
            self._findings.add(FindingId.NAME_UNUSABLE, place, f"`{quote(name)}`: {error}")
            return None
        if subject != f"{prefix}:{name}":
            self._findings.add(FindingId.NAME_MAPPED, place, f"`{quote(name)}` becomes `{subject}`")
        return subject

    def _answers(self, grants: Mapping[str, Actions]) -> list[AccessAnswer]:
        people = list(
            dict.fromkeys(
                [
                    *(binding.holder for binding in self._bindings if not binding.group),
                    *(member for group in self._groups.values() for member in group.members),
                ]
            )
        )
        namespaces = _around(sorted({binding.namespace for binding in self._bindings if binding.namespace}))
        named = {kind for granted in grants.values() for kind in granted}
        named |= {words.TWINS[kind][0] for kind in named if kind in words.TWINS}
        asked = [
            (kind, action, namespace)
            for kind in words.kinds()
            if kind.name in named
            for action, namespace in product(sorted(kind.actions), namespaces if kind.namespaced else ("",))
        ]
        questions, total = sampled((people, asked), self._options.cases)
        if len(questions) < total:
            self._findings.add(FindingId.CASES_SAMPLED, "the tests", f"{len(questions)} of {total} questions")
        return [self._answer(grants, person, *what) for person, what in questions]

    def _answer(
        self, grants: Mapping[str, Actions], person: str, kind: Kind, action: str, namespace: str
    ) -> AccessAnswer:
        allowed = any(
            self._granted(grants, binding, kind.name, action, namespace)
            for binding in self._bindings
            if self._is_held_by(binding, person)
        )
        if self._access is not None and person not in self._access:
            allowed = False
        principal = self._principal(person, "the tests") or ""
        effect = Effect.ALLOW if allowed else Effect.DENY
        return AccessAnswer(principal, action, kind.name, namespace, effect)

    def _is_held_by(self, binding: Binding, person: str) -> bool:
        if not binding.group:
            return binding.holder == person
        group = self._groups.get(binding.holder)
        return group is not None and person in group.members

    def _granted(self, grants: Mapping[str, Actions], binding: Binding, name: str, action: str, namespace: str) -> bool:
        """Evaluates a binding as Kestra does, except for the differences that the findings report."""
        kind = next((kind for kind, (twin, _) in words.TWINS.items() if twin == name), name)
        if action not in grants[binding.role].get(kind, frozenset()):
            return False
        if not binding.namespace:
            return True
        if name in words.TENANT_WIDE:
            return self._options.keep_tenant_wide
        if name not in words.NAMESPACED:
            return False
        return namespace == binding.namespace or namespace.startswith(f"{binding.namespace}.")


def _around(namespaces: Sequence[str]) -> list[str]:
    """The namespaces of bindings, others below, above and beside them, and one that no binding covers."""
    found = dict.fromkeys(namespaces)
    for namespace in namespaces:
        found |= dict.fromkeys((f"{namespace}.probe", f"{namespace}2", namespace.rpartition(".")[0]))
    usable = [each for each in found if each and len(each) <= NAMESPACE_LIMIT]
    return [*usable, "probe" if "probe" not in usable else "probe3"]
