"""What a caller may ask of a tenant: the actions of the built-in kinds of the folder `_callers`."""

from collections.abc import Mapping
from typing import Final

from remit.core.names import CALLERS, INSTANCE, WHOLE_TENANT, Namespace, Tenant, Word
from remit.core.question import QuestionType
from remit.core.str_enum import StrEnum
from remit.core.vocabulary import Kind, KindClass, Vocabulary


class CallerAction(StrEnum):
    """One action for each sort of disclosure. docs/reference/callers.md lists the calls of each."""

    CHECK = "CHECK"
    """Single verdicts: checks, batches, operations, reach, a visible graph."""
    LIST = "LIST"
    """All that one principal or one namespace may do."""
    RESOLVE = "RESOLVE"
    """Names and configuration of dedicated resources."""
    WHO = "WHO"
    """Which principals may do something."""
    EXPLAIN = "EXPLAIN"
    """Rows of the policy, other principals' bindings, remedies."""
    READ = "READ"
    """The policy itself: diagnostics, which quote it, and the source of a revision."""
    STATUS = "STATUS"
    """State and revision of the tenant."""
    WATCH = "WATCH"
    """A stream of changes of revision."""
    AUDIT = "AUDIT"
    """Recorded decisions and lifecycle records."""
    PIN = "PIN"
    """Changes which revision serves."""
    BIND = "BIND"
    """Grants and revokes rows at run time, for whomever the caller names."""
    ACT_FOR = "ACT_FOR"
    """Names the person for whom a call is made. The call has the rights that both have."""

    @property
    def bit(self) -> int:
        """The bit of this action in a mask of rights."""
        return _BITS[self]


_BITS: Final = {action: 1 << position for position, action in enumerate(CallerAction)}

ACTION_OF_QUESTION: Final[Mapping[QuestionType, CallerAction]] = {
    QuestionType.CHECK: CallerAction.CHECK,
    QuestionType.OPERATION: CallerAction.CHECK,
    QuestionType.REACH: CallerAction.CHECK,
    QuestionType.REACH_ALL: CallerAction.CHECK,
    QuestionType.GRAPH: CallerAction.CHECK,
    QuestionType.ACTIONS: CallerAction.LIST,
    QuestionType.NAMESPACES: CallerAction.LIST,
    QuestionType.FILTER: CallerAction.LIST,
    QuestionType.REACHABLE: CallerAction.LIST,
    QuestionType.DEDICATED: CallerAction.RESOLVE,
    QuestionType.SERVED: CallerAction.RESOLVE,
    QuestionType.PRINCIPALS: CallerAction.WHO,
    QuestionType.MATRIX: CallerAction.WHO,
    QuestionType.HELD: CallerAction.WHO,
    QuestionType.EXPLAIN: CallerAction.EXPLAIN,
    QuestionType.REACH_EXPLAIN: CallerAction.EXPLAIN,
}
"""The right that a recorded question needed, by its type."""
_NEEDED_TOO: Final[Mapping[QuestionType, tuple[CallerAction, ...]]] = {QuestionType.HELD: (CallerAction.READ,)}

TENANT_KIND: Final = Word("REMIT")
"""Asked in a namespace of `_callers`, which stands for the tenant of that name."""
INSTANCE_KIND: Final = Word("REMIT_INSTANCE")
"""Asked without a namespace: `_instance`, `_callers`, and what concerns all tenants at once."""

_ACTIONS: Final = frozenset(Word(action) for action in CallerAction)
_OF_INSTANCE: Final = frozenset({Word(CallerAction.ACT_FOR)})
CALLERS_VOCABULARY: Final = Vocabulary(
    {
        TENANT_KIND: Kind(TENANT_KIND, KindClass.NAMESPACE, _ACTIONS - _OF_INSTANCE),
        INSTANCE_KIND: Kind(INSTANCE_KIND, KindClass.TENANT, _ACTIONS),
    }
)
"""The vocabulary of `_callers`. It belongs to the server's version, not to `vocabulary.yaml`."""


def actions_of(question: QuestionType) -> tuple[CallerAction, ...]:
    """All rights that a recorded question needed."""
    return (ACTION_OF_QUESTION[question], *_NEEDED_TOO.get(question, ()))


def actions_in(mask: int) -> list[CallerAction]:
    """The actions whose bits a mask of rights has."""
    return [action for action in CallerAction if mask & action.bit]


def actions_about(kind: Word) -> list[CallerAction]:
    """The actions of one of the two kinds."""
    return [action for action in CallerAction if Word(action) in CALLERS_VOCABULARY.kinds[kind].actions]


def asked_about(tenant: Tenant | None) -> tuple[Word, Namespace]:
    """The kind and the namespace of a question in `_callers` about a tenant; None stands for all tenants."""
    if tenant is None or tenant in {INSTANCE, CALLERS}:
        return INSTANCE_KIND, WHOLE_TENANT
    return TENANT_KIND, Namespace(tenant)
