from collections.abc import Callable, Sequence
from typing import Final

from remit.core.names import Subject, Word, is_word, quote
from remit.core.vocabulary import Kind, KindClass
from remit.migrate.casbin.context import ImportContext
from remit.migrate.casbin.enforcer import FUNCTIONS
from remit.migrate.casbin.model import ModelShape
from remit.migrate.casbin.rows import ModelRows
from remit.migrate.casbin.subjects import Subjects
from remit.migrate.finding import FindingId
from remit.migrate.name_mapping import encode_word
from remit.migrate.options import CasbinOptions, ObjectReading

_SHOWN: Final = 20
_EXPRESSION_SIGNS: Final = frozenset("\\^$+?()[]{}|*.")


class ImportedVocabulary:
    """The people, objects and actions of a Casbin policy, in Casbin's words and in ours."""

    def __init__(self, rows: ModelRows, origin: ImportContext) -> None:
        shape, options, findings = origin.shape, origin.options, origin.findings
        self._rows = rows
        self._shape = shape
        self._model = origin.model
        self._options = options
        self._findings = findings
        self.objects_are = options.objects or _reading(shape, options)
        self.subjects = Subjects(
            [(row.member, row.held) for row in rows.holds], (*options.persons, *shape.superusers), findings
        )
        self.people = self._people()
        self.objects = self._objects()
        """Objects of questions, without patterns and groups of objects."""
        self.actions = self._actions()
        self.words: dict[str, Word] = {}
        """Our kinds and actions by Casbin's words."""
        for name in (*self._kind_names, *self.actions):
            self._read_word(name)
        for what, names in (("object", self._kind_names), ("action", self.actions)):
            if not names:
                findings.add(FindingId.MISSING_WORD, origin.model, f"no row names an {what}: say `--{what} NAME`")
        self._report_groups()
        self._report_twins()

    @property
    def kind(self) -> Word:
        """The one kind if objects are namespaces."""
        return self.words[self._options.kind]

    def kinds(self, kind_class: KindClass) -> list[Kind]:
        actions = frozenset(self.words[name] for name in self.actions)
        return [Kind(self.words[name], kind_class, actions) for name in self._kind_names]

    def permitted(self, text: str) -> list[str] | None:
        """The actions that a row's action covers, in Casbin's words. None for all of them."""
        clause = self._shape.action
        if text in clause.wildcards or (text in {"*", ".*"} and clause.functions):
            return None
        if "regexMatch" in clause.functions:
            return [name for name in self.actions if matches("regexMatch", name, text)]
        return [text] if text in self.words else []

    @property
    def _kind_names(self) -> Sequence[str]:
        return self.objects if self.objects_are is ObjectReading.KINDS else (self._options.kind,)

    def _people(self) -> dict[str, Subject]:
        findings, persons = self._findings, self._options.persons
        held = {row.held for row in self._rows.holds}
        members = {row.member for row in self._rows.holds}
        people = {}
        for name, place in self._places().items():
            principal = self.subjects.principal(name, place)
            if principal is not None:
                people[name] = principal
        for person in persons:
            if person not in held:
                findings.add(FindingId.NAME_UNUSABLE, self._model, f"`--person {quote(person)}`: nobody holds it")
        if held - set(persons):
            names = ", ".join(f"`{quote(name)}`" for name in sorted(held - set(persons))[:_SHOWN])
            findings.add(
                FindingId.ROLE_AS_SUBJECT,
                self._model,
                f"{names}: if one of them is a person who asks, add `--person NAME`",
            )
        for row in self._rows.permits:
            if self._shape.roles and row.subject not in held and row.subject not in members:
                findings.add(FindingId.SUBJECT_AMBIGUOUS, row.place, f"`{quote(row.subject)}`")
        return people

    def _places(self) -> dict[str, str]:
        """Every name of a person or role, and the first place where it appears."""
        places: dict[str, str] = {}
        for row in self._rows.permits:
            places.setdefault(row.subject, row.place)
        for link in self._rows.holds:
            places.setdefault(link.member, link.place)
            places.setdefault(link.held, link.place)
        for name in self._shape.superusers:
            places.setdefault(name, self._model)
        return places

    def _objects(self) -> list[str]:
        rows = self._rows
        named = [*(row.object for row in rows.permits), *(row.fields[0] for row in rows.resources)]
        left_out = self._shape.object.wildcards | rows.object_groups
        signs = set("*:{") if self.objects_are is ObjectReading.NAMESPACES else set("*")
        found = [name for name in named if name not in left_out and not signs & set(name)]
        return list(dict.fromkeys([*found, *self._options.objects_more]))

    def _actions(self) -> list[str]:
        clause = self._shape.action
        names: dict[str, None] = {}
        for row in self._rows.permits:
            if row.action in clause.wildcards or (clause.functions and row.action in {"*", ".*"}):
                continue
            if "regexMatch" in clause.functions:
                parts = alternatives(row.action)
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
        return list(dict.fromkeys([*names, *self._options.actions_more]))

    def _read_word(self, name: str) -> None:
        word = encode_word(name)
        if not is_word(word):
            self._findings.add(FindingId.NAME_UNUSABLE, self._model, f"`{quote(name)}` is too long for a word")
        elif word != name:
            self._findings.add(FindingId.NAME_MAPPED, self._model, f"`{quote(name)}` becomes `{word}`")
        self.words[name] = Word(word)

    def _report_groups(self) -> None:
        groups = sorted(self._rows.object_groups - set(self._options.objects_more))
        if groups:
            names = ", ".join(f"`{quote(name)}`" for name in groups[:_SHOWN])
            kinds = self.objects_are is ObjectReading.KINDS
            hint = "say `--object NAME` for one that is asked about" if kinds else "ask about what is in them"
            self._findings.add(FindingId.GROUP_AS_OBJECT, self._model, f"{names}: {hint}")

    def _report_twins(self) -> None:
        for what, names in (("objects", self.objects), ("actions", self.actions), ("subjects", self._places())):
            folded: dict[str, list[str]] = {}
            for name in names:
                folded.setdefault(name.casefold(), []).append(name)
            for twins in folded.values():
                if len(twins) > 1:
                    texts = ", ".join(f"`{quote(name)}`" for name in twins)
                    self._findings.add(FindingId.CASE_TWINS, self._model, f"{what} {texts}")


def matches(function: str, value: str, pattern: str) -> bool:
    """The result of Casbin's function. False if it raises, as in Casbin's role manager."""
    known: Callable[..., bool] = FUNCTIONS[function]
    try:
        return bool(known(value, pattern))
    except Exception:  # noqa: BLE001 (the functions compile a stranger's text as a regular expression)
        return False


def alternatives(text: str) -> list[str] | None:
    """The names of `A`, `A|B` and `(A)|(B)`. None for any other expression."""
    parts = [
        part[1:-1] if part.startswith("(") and part.endswith(")") else part for part in text.strip("^$").split("|")
    ]
    return parts if all(part and not _EXPRESSION_SIGNS & set(part) for part in parts) else None


def _reading(shape: ModelShape, options: CasbinOptions) -> ObjectReading:
    """Namespaces if objects are compared with patterns, else kinds."""
    grouped = shape.resources is not None and options.match.get(shape.resources.ptype, "none") != "none"
    return ObjectReading.NAMESPACES if grouped or shape.object.functions else ObjectReading.KINDS
