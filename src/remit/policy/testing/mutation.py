from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import TypeVar

from remit.core.policy import Policy
from remit.core.rows import Link, ReachRule, Rule
from remit.engine.decision_diagram import TooManyDiagramsError
from remit.engine.diff import diff
from remit.engine.role_graph import RoleGraph
from remit.engine.snapshot import Snapshot
from remit.policy.read.manifests import denies
from remit.policy.read.role_graph_check import check_reach
from remit.policy.testing.cases import AccessCase, Case, DecisionCase, ReachCase, decisions_of
from remit.policy.testing.mutants import Mutant, RowChange

_Row = TypeVar("_Row", Rule, Link, ReachRule)


class Verdict(StrEnum):
    NOTICED = "noticed"
    """A case fails."""
    SURVIVED = "survived"
    """No case fails, but some decision changes."""
    EQUIVALENT = "equivalent"
    """No decision changes, so a case could fail only by its reason."""
    UNDECIDED = "undecided"
    """No case fails. The patterns are too complex to say if a decision changes."""
    REFUSED = "refused"
    """No case fails, but the loader refuses the files: nobody can make this mistake."""


def judge(mutant: Mutant, trials: Sequence["Trial"]) -> Verdict:
    """The verdict on a mutant of a row that is in the policies of all these tenants."""
    if any(trial.notices(mutant) is not None for trial in trials):
        return Verdict.NOTICED
    if any(trial.refuses(mutant) for trial in trials):
        return Verdict.REFUSED
    try:
        changed = any(trial.changes(mutant) for trial in trials)
    except TooManyDiagramsError:
        return Verdict.UNDECIDED
    return Verdict.SURVIVED if changed else Verdict.EQUIVALENT


class Trial:
    """A tenant's policy with tests that hold.

    A decision depends only on the rows of the principal and of the subjects that it may hold somewhere. So a mutant is
    judged with the rows that can affect it: few, in a policy of any size.
    """

    def __init__(self, snapshot: Snapshot, cases: Iterable[Case]) -> None:
        self._policy = snapshot.policy
        self._graph = snapshot.graph
        self._closures: dict[str, frozenset[str]] = {}
        runtime = snapshot.policy.runtime
        self._runtime: frozenset[str] = frozenset()
        """The subjects that `runtime` needs rows of."""
        if runtime is not None:
            self._runtime = frozenset((*runtime.roles, *runtime.groups))
            self._runtime |= self._closure(runtime.suspend) if runtime.suspend is not None else set()
        self._reach: list[ReachCase] = []
        self._access: defaultdict[str, list[AccessCase]] = defaultdict(list)
        """The cases by subject that the principal of the case may hold somewhere."""
        for case in decisions_of(cases):
            if isinstance(case, ReachCase):
                self._reach.append(case)
            elif isinstance(case, AccessCase):
                for subject in self._closure(case.question.principal):
                    self._access[subject].append(case)

    def notices(self, mutant: Mutant) -> Case | None:
        """A case that fails with this mutant in the policy; None if there is none."""
        touched = self._touched(mutant)
        if not touched:
            return None
        principals = {case.question.principal for case in touched if isinstance(case, AccessCase)}
        snapshot = Snapshot(_with(mutant, self._part(mutant, principals)))
        return next((case for case in touched if not case.expects(snapshot.answer(case.question))), None)

    def refuses(self, mutant: Mutant) -> bool:
        """True if the loader refuses the files with this mutant: a row that nothing reaches, a role that nothing defines,
        or `runtime` that names nothing. Wider rows may be too many for one question: that is not counted."""
        row, policy = mutant.row, self._policy
        if isinstance(row, ReachRule):
            refusals: list[object] = []
            check_reach(_replaced(policy.reach, mutant), lambda *refusal: refusals.append(refusal))
            return bool(refusals)
        if mutant.change is RowChange.WIDENED:
            return False
        role = _holder(row)
        defining = len(self._graph.rules_of(role)) + len(self._graph.links_of(role))
        if (
            mutant.mutated is None
            and role.startswith("role:")
            and defining == 1
            and self._graph.holders({role}) != {role}
        ):
            return True
        runtime = policy.runtime
        if runtime is None or self._runtime.isdisjoint((role, row.holds if isinstance(row, Link) else role)):
            return False
        without = _with(mutant, policy)
        graph = RoleGraph(without.rules, without.links)
        known = {*graph.roles(), *graph.groups, *(policy.access or ())}
        named = {name for name in (*runtime.roles, *runtime.groups) if not name.endswith("*")}
        return not named <= known or (runtime.suspend is not None and not denies(graph, runtime.suspend))

    def changes(self, mutant: Mutant) -> bool:
        """True if this mutant changes any decision. Raises TooManyDiagramsError as `diff` does."""
        row = mutant.row
        part = self._part(mutant, () if isinstance(row, ReachRule) else self._graph.holders({_holder(row)}))
        found = diff(part.tenant, Snapshot(part), Snapshot(_with(mutant, part)))
        return bool(found.access or found.reach)

    def _touched(self, mutant: Mutant) -> Sequence[DecisionCase]:
        row = mutant.row
        if isinstance(row, ReachRule):
            return self._reach
        cases = self._access.get(_holder(row), ())
        if isinstance(row, Link):
            return cases
        rules = [each for each in (row, mutant.mutated) if isinstance(each, Rule)]
        # A row about something else decides nothing, but may change the reason.
        return [
            case
            for case in cases
            if case.reason is not None or any(each.names(case.question.kind, case.question.action) for each in rules)
        ]

    def _part(self, mutant: Mutant, subjects: Iterable[str]) -> Policy:
        """The policy with only the rows that decide about `subjects`, or about reach."""
        if isinstance(mutant.row, ReachRule):
            return replace(self._policy, rules=(), links=(), dedicated={})
        closure = sorted(frozenset[str]().union(*map(self._closure, subjects)))
        rules = tuple(rule for subject in closure for rule in self._graph.rules_of(subject))
        links = tuple(link for subject in closure for link in self._graph.links_of(subject))
        return replace(self._policy, rules=rules, links=links, reach=(), dedicated={})

    def _closure(self, subject: str) -> frozenset[str]:
        """The subject and every subject that it may hold somewhere."""
        known = self._closures.get(subject)
        if known is None:
            onward = (self._closure(link.holds) for link in self._graph.links_of(subject))
            known = self._closures[subject] = frozenset((subject,)).union(*onward)
        return known


def _holder(row: Rule | Link) -> str:
    return row.member if isinstance(row, Link) else row.subject


def _with(mutant: Mutant, policy: Policy) -> Policy:
    match mutant.row:
        case Rule():
            return replace(policy, rules=_replaced(policy.rules, mutant))
        case Link():
            return replace(policy, links=_replaced(policy.links, mutant))
        case ReachRule():
            return replace(policy, reach=_replaced(policy.reach, mutant))


def _replaced(rows: Sequence[_Row], mutant: Mutant) -> tuple[_Row, ...]:
    found: list[_Row] = []
    for row in rows:
        if row != mutant.row:
            found.append(row)
        elif isinstance(mutant.mutated, type(row)):
            found.append(mutant.mutated)
    return tuple(found)
