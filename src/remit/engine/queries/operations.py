from typing import NamedTuple

from remit.core.errors import violation
from remit.core.names import WHOLE_TENANT, Namespace, Principal, Word
from remit.core.policy import Policy
from remit.core.question import Question
from remit.core.vocabulary import Operand


class Compound(NamedTuple):
    """May this principal do a whole operation of the vocabulary in a namespace?"""

    principal: Principal
    operation: Word
    namespace: Namespace = WHOLE_TENANT

    @property
    def whole(self) -> Question:
        """The operation as a question without kind and action."""
        return Question(self.principal, Word(""), Word(""), self.namespace)

    def parts(self, policy: Policy) -> list[Question]:
        """The questions that must all be allowed, in the vocabulary's order.

        Raises MalformedQuestionError if the vocabulary does not declare the operation, or a namespace is missing or
        superfluous for it.
        """
        vocabulary = policy.vocabulary
        operands = vocabulary.operations.get(self.operation)
        if operands is None:
            known = ", ".join(f"`{name}`" for name in vocabulary.operations) or "none at all"
            raise violation("operation", f"the vocabulary declares no `{self.operation}`: it declares {known}")
        takes_namespace = any(vocabulary.kinds[each.kind].namespaced for each in operands)
        if takes_namespace and not self.namespace:
            raise violation("namespace", f"is missing: `{self.operation}` is done in a namespace, so name it")
        if self.namespace and not takes_namespace:
            raise violation("namespace", f"is superfluous: `{self.operation}` is done in the tenant itself")
        return [self._part(operand, policy) for operand in operands]

    def _part(self, operand: Operand, policy: Policy) -> Question:
        kinds = policy.vocabulary.kinds
        if not kinds[operand.kind].namespaced:
            return Question(self.principal, operand.action, operand.kind)
        if not operand.at_parent:
            return Question(self.principal, operand.action, operand.kind, self.namespace)
        parent = Namespace(self.namespace.rpartition(".")[0])
        if parent:
            return Question(self.principal, operand.action, operand.kind, parent)
        # The parent of a top-level namespace is the tenant, where the vocabulary names another kind.
        return Question(self.principal, operand.action, operand.at_top)
