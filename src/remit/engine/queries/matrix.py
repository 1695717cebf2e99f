"""Decisions as a table: principals in one namespace, or namespaces for one principal, by the actions of some kinds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

from remit.core.decision import Decision
from remit.core.errors import violation
from remit.core.names import INSTANCE, WHOLE_TENANT, Namespace, Principal, Subject, Word
from remit.core.question import Question, QuestionType
from remit.engine.inquiry import Inquiry
from remit.engine.queries.names import named_namespaces
from remit.engine.queries.search import reach_back
from remit.engine.snapshot import Snapshot

ROWS_LIMIT: Final = 100
"""Rows of one page."""
COLUMNS_LIMIT: Final = 60
_PRINCIPALS: Final = ("user:", "service:")

Column = tuple[Word, Word]
"""A kind and an action."""


class MatrixRows(Protocol):
    """What the rows of a matrix are."""

    @property
    def principal(self) -> Principal | None:
        """The principal of every row; None if each row has its own."""

    @property
    def namespace(self) -> Namespace:
        """The namespace of every row; '' if each row has its own, or all are about the tenant itself."""

    @property
    def namespaced(self) -> bool:
        """Whether the questions have namespaces."""

    @property
    def field(self) -> str:
        """The field of a request that says so."""

    def names(self, snapshot: Snapshot, columns: Sequence[Column]) -> Sequence[str]:
        """All rows, in their order."""

    def question(self, name: str, column: Column) -> Question:
        """The question of a cell."""

    @property
    def detail(self) -> Mapping[str, object]:
        """What the audit keeps of them."""


@dataclass(frozen=True, slots=True)
class PrincipalsAsRows:
    """Principals in one namespace, or in the tenant itself: the given ones, else those that hold a group or a role, else
    those for which a rule decides a column there."""

    namespace: Namespace = WHOLE_TENANT
    given: tuple[Principal, ...] = ()
    holding: Subject | None = None
    principal: ClassVar[Principal | None] = None
    field: ClassVar[str] = "principals.namespace"

    @property
    def namespaced(self) -> bool:
        return bool(self.namespace)

    def names(self, snapshot: Snapshot, columns: Sequence[Column]) -> Sequence[str]:
        if self.given:
            return self.given
        if self.holding is not None:
            return sorted(name for name in snapshot.graph.holders([self.holding]) if name.startswith(_PRINCIPALS))
        covering = snapshot.covering(self.namespace)
        reached: dict[str, str] = {}
        for rule in snapshot.policy.rules:
            if (
                rule.subject not in reached
                and rule.namespaces.text in covering
                and any(rule.names(*column) for column in columns)
            ):
                reach_back(snapshot, rule.subject, covering, reached, {})
        return sorted(name for name in reached if name.startswith(_PRINCIPALS) and snapshot.admits(name))

    def question(self, name: str, column: Column) -> Question:
        kind, action = column
        return Question(Principal(name), action, kind, self.namespace)

    @property
    def detail(self) -> Mapping[str, object]:
        return {"of": "principals", **({"holding": self.holding} if self.holding is not None else {})}


@dataclass(frozen=True, slots=True)
class NamespacesAsRows:
    """Namespaces for one principal: the given ones, else those that the policy names at and below `below`."""

    principal: Principal
    given: tuple[Namespace, ...] = ()
    below: Namespace = WHOLE_TENANT
    namespace: ClassVar[Namespace] = WHOLE_TENANT
    namespaced: ClassVar[bool] = True
    field: ClassVar[str] = "namespaces"

    def names(self, snapshot: Snapshot, columns: Sequence[Column]) -> Sequence[str]:
        del columns
        if self.given:
            return self.given
        below, within = self.below, f"{self.below}."
        named = named_namespaces(snapshot.policy)
        return sorted(name for name in named if not below or name == below or name.startswith(within))

    def question(self, name: str, column: Column) -> Question:
        kind, action = column
        return Question(self.principal, action, kind, Namespace(name))

    @property
    def detail(self) -> Mapping[str, object]:
        return {"of": "namespaces", **({"below": self.below} if self.below else {})}


@dataclass(frozen=True, slots=True)
class Matrix:
    columns: Sequence[Column]
    rows: Sequence[tuple[str, Sequence[Decision]]]
    """Those of one page: a name, and a decision for each column."""
    total: int
    """Rows of all pages."""


@dataclass(frozen=True, slots=True)
class MatrixOf(Inquiry[Matrix]):
    """A page of a table of decisions. Each cell is the decision of its question."""

    question_type: ClassVar = QuestionType.MATRIX
    rows: MatrixRows
    kinds: tuple[Word, ...] = ()
    """Only these kinds; all that fit the rows if empty."""
    actions: tuple[Word, ...] = ()
    """Only these actions; all if empty."""
    first: int = 0
    """The first row of the page."""
    size: int = ROWS_LIMIT

    @property
    def columns(self) -> tuple[str, str, str, str]:
        return (self.rows.principal or "", "|".join(self.actions), "|".join(self.kinds), self.rows.namespace)

    def answer(self, snapshot: Snapshot) -> Matrix:
        columns = self._columns(snapshot)
        names = self.rows.names(snapshot, columns)
        page = names[self.first : self.first + self.size]
        cells = [(name, [snapshot.decide(self.rows.question(name, each)) for each in columns]) for name in page]
        return Matrix(columns, cells, len(names))

    def detail(self, answer: Matrix) -> Mapping[str, object]:
        allowed = sum(1 for _, cells in answer.rows for cell in cells if cell.allowed)
        counts = {"columns": len(answer.columns), "rows": len(answer.rows), "total": answer.total, "allowed": allowed}
        return {**self.rows.detail, **counts, **({"first": self.first} if self.first else {})}

    def _columns(self, snapshot: Snapshot) -> list[Column]:
        """Raises MalformedQuestionError."""
        declared, namespaced = snapshot.policy.vocabulary.kinds, self.rows.namespaced
        if namespaced and snapshot.tenant == INSTANCE:
            raise violation(self.rows.field, f"expected none: `{INSTANCE}` has no namespaces")
        for position, kind in enumerate(self.kinds):
            if kind not in declared:
                raise violation(f"kinds[{position}]", f"`{kind}` is no kind that the vocabulary declares")
            if declared[kind].namespaced != namespaced:
                where = "no namespace" if namespaced else "namespaces, so name one"
                class_ = declared[kind].kind_class
                raise violation(f"kinds[{position}]", f"`{kind}` is of class `{class_}` and lives in {where}")
        wanted = [declared[kind] for kind in self.kinds] or [
            kind for kind in declared.values() if kind.lives_in(snapshot.tenant) and kind.namespaced == namespaced
        ]
        known = {action for kind in wanted for action in kind.actions}
        for position, action in enumerate(self.actions):
            if action not in known:
                raise violation(f"actions[{position}]", f"`{action}` is no action of the kinds that are columns")
        found = [
            (kind.name, action)
            for kind in wanted
            for action in sorted(kind.actions)
            if not self.actions or action in self.actions
        ]
        if len(found) > COLUMNS_LIMIT:
            wide = f"there would be {len(found)} columns, an action of a kind each: expected at most {COLUMNS_LIMIT}"
            raise violation("kinds", f"{wide}, so name kinds or actions")
        return found
