"""The gates before a change of rows of run time: the files' ceiling, the granter's rights, and tests that must always hold."""

from collections.abc import Sequence
from itertools import chain
from threading import Lock
from typing import Final

from remit.audit.errors import JournalUnavailable
from remit.core.decision import Decision
from remit.core.diagnostics import PolicyError
from remit.core.names import Principal, Tenant, Word
from remit.core.question import Question
from remit.core.runtime import BINDING, GRANT, GRANT_ANY, REVOKE
from remit.engine.decision_diagram import TooManyDiagramsError
from remit.engine.diff.escalation import TooManyWaysError, affected, binding_question, escalations
from remit.engine.snapshot import Snapshot
from remit.fleet.bindings import RowKey
from remit.fleet.journal import ReleaseJournal
from remit.policy.ceiling import Ceiling, unsound
from remit.policy.live import LivePolicies
from remit.policy.load import load_root, read_cases
from remit.policy.read.limits import Limits
from remit.policy.read.tree import read_tree
from remit.policy.testing.cases import Case, always_failures
from remit.service.bindings.work import BindingWork
from remit.service.decision_point import CallTerms, DecisionPoint
from remit.service.errors import BindingRefusedError, NoBindingsError

_SHOWN: Final = 5
_MOST_WAYS: Final = 5_000
"""Different sets of rows that the people of a change hold. Each is compared in some milliseconds."""
_MOST_SCOPES: Final = 1_000
"""Scopes of a change, if BINDING lives in namespaces: the granter is asked about each."""


class NotServedYetError(Exception):
    """A change follows one that does not serve yet, and that matters: it has to wait."""


class BindingGates:
    def __init__(
        self, journal: ReleaseJournal, live: LivePolicies, point: DecisionPoint, limits: Limits, *, signs: bool = True
    ) -> None:
        """Unless this node `signs`, nothing passes: no node would take it over."""
        self._live = live
        self._point = point
        self._limits = limits
        self._signs = signs
        self._cases = _CaseCache(journal, limits)

    def snapshot(self, tenant: Tenant) -> Snapshot:
        """What serves. Raises NoBindingsError if the tenant or this node takes no grants."""
        if not self._signs:
            raise NoBindingsError(
                "this node has no `binding_key`, and `binding_keys` asks for signatures: ask one that has"
            )
        snapshot = self._live.snapshot(tenant)
        if snapshot is None:
            raise NoBindingsError(f"there is no tenant `{tenant}`")
        if snapshot.policy.runtime is None:
            raise NoBindingsError(f"{tenant}/tenant.yaml has no `runtime`: nothing may be granted at run time")
        return snapshot

    def sound(self, work: BindingWork, before: Snapshot) -> Snapshot:
        """The next policy. Raises BindingRefusedError if the files do not open a row, or the rows do not fit together."""
        ceiling = Ceiling(before.policy)
        for row in work.granted:
            if why := ceiling.refusal(row, work.now_us):
                raise BindingRefusedError(f"{RowKey.of(row).text}: {why}")
        after = before.changed("", work.added, [*work.gone, *work.past])
        ending = (each.row for each in work.ending if RowKey.of(each.row) not in work.removed)
        found = unsound(before, after, work.granted, chain(ending, work.granted), self._limits.question_rows)
        if found:
            texts = [f"{RowKey.of(each.row).text}: {each.message}" for each in found[:_SHOWN]]
            raise BindingRefusedError("; ".join(texts))
        return after

    def only_takes_away(self, work: BindingWork, before: Snapshot, after: Snapshot) -> bool:
        """Whether the change gives nobody anything. Then it may follow a policy that is not the newest: it is as if it had been
        made before the changes since."""
        shorter = {RowKey.of_link(link) for link in work.shortened}
        added = [link for link in work.added if RowKey.of_link(link) not in shorter]
        removed = [link for link in work.gone if RowKey.of_link(link) not in shorter]
        try:
            return not escalations(before, after, added, removed, None, now_us=work.now_us, most=_MOST_WAYS)
        except (TooManyDiagramsError, TooManyWaysError):
            return False

    def _require_granter(self, granter: Principal, work: BindingWork, before: Snapshot, terms: CallTerms) -> None:
        """Raises BindingRefusedError unless the granter may change rows with these scopes. Each decision is recorded, and so
        it is one of the policy that serves."""
        kind = before.policy.vocabulary.kinds.get(BINDING)
        if kind is not None and kind.namespaced:
            scopes = {link.scope.text for link in (*work.added, *work.only_removed)}
            if len(scopes) > _MOST_SCOPES:
                raise BindingRefusedError(f"the rows have {len(scopes):,} scopes: expected at most {_MOST_SCOPES:,}")
        asked: dict[Question, Word] = {}
        for action, links in ((GRANT, work.added), (REVOKE, [*work.only_removed, *work.shortened])):
            for scope in {link.scope.text: link.scope for link in links}.values():
                asked[binding_question(before, granter, action, scope)] = action
        serving = self.snapshot(before.tenant)
        for question in asked if serving is not before else ():
            if serving.answer(question).allowed != before.answer(question).allowed:
                raise NotServedYetError(f"{question} has another answer since")
        for question in asked:
            try:
                answer = self._point.commit(self._point.check(before.tenant, (question, ""), terms))
            except JournalUnavailable as error:
                text = f"{error.shown}: nothing is changed. Send the request to another node, or again once the audit works"
                raise JournalUnavailable(text, str(error)) from error
            decision: Decision = answer.decision
            if not decision.allowed:
                where = f" in `{question.namespace}`" if question.namespace else ""
                rule = f", by {decision.rule.place}" if decision.rule is not None else ""
                raise BindingRefusedError(
                    f"`{granter}` may not {question.action} {question.kind}{where}: {decision.reason}{rule}"
                )

    def require(
        self, granter: Principal, work: BindingWork, before: Snapshot, after: Snapshot, terms: CallTerms
    ) -> None:
        """Raises BindingRefusedError unless the granter may make the change, holds all that it gives for as long as it gives
        it, and all tests hold that must."""
        try:
            self._require_granter(granter, work, before, terms)
            self._require_within(granter, work, before, after)
        except TooManyDiagramsError as error:
            raise BindingRefusedError(f"it cannot be found out who would gain what: {error}") from error
        except TooManyWaysError as error:
            raise BindingRefusedError(
                f"{error}, too many to compare: expected at most {_MOST_WAYS:,}, or a granter who may {GRANT_ANY} {BINDING} in "
                "the whole tenant"
            ) from error

    def one_way(self, granter: Principal, work: BindingWork, before: Snapshot, after: Snapshot) -> str:
        """Why the granter cannot lift a suspension that the change makes, and who can; '' if it makes none, or they can."""
        runtime = before.policy.runtime
        suspensions = [link for link in work.added if runtime is not None and link.holds == runtime.suspend]
        if not suspensions:
            return ""
        lifted = after.changed("", (), suspensions)
        try:
            beyond = escalations(after, lifted, (), suspensions, granter, now_us=work.now_us, most=_MOST_WAYS)
        except (TooManyDiagramsError, TooManyWaysError):
            return ""
        if not beyond:
            return ""
        return (
            f"`{granter}` cannot lift this suspension: {beyond[0].text}, which `{granter}` does not hold. Whoever holds it, or "
            f"may {GRANT_ANY} {BINDING}, can"
        )

    def _require_within(self, granter: Principal, work: BindingWork, before: Snapshot, after: Snapshot) -> None:
        """Raises BindingRefusedError if the change gives what the granter does not hold, or a test would fail."""
        beyond = escalations(before, after, work.added, work.gone, granter, now_us=work.now_us, most=_MOST_WAYS)
        if beyond:
            texts = "; ".join(each.text for each in beyond[:_SHOWN])
            more = f" and {len(beyond) - _SHOWN} more" if len(beyond) > _SHOWN else ""
            raise BindingRefusedError(f"{texts}{more}, which `{granter}` does not hold")
        who = frozenset(Principal(each) for each in affected(before, after, [*work.added, *work.gone]))
        cases = self._cases.of(before.tenant)
        failures = always_failures(after, cases, who)
        if failures:
            # Over other files than the tests are from, some may fail whatever changes.
            known = {str(each.diagnostic) for each in always_failures(before, cases, who)}
            failures = tuple(each for each in failures if str(each.diagnostic) not in known)
        if failures:
            texts = "; ".join(str(each.diagnostic) for each in failures[:_SHOWN])
            raise BindingRefusedError(f"tests that must always hold would fail: {texts}")


class _CaseCache:
    """The tests of tenants that must always hold."""

    def __init__(self, journal: ReleaseJournal, limits: Limits) -> None:
        self._journal = journal
        self._limits = limits
        self._found: dict[Tenant, tuple[str, tuple[Case, ...]]] = {}
        self._mutex = Lock()

    def of(self, tenant: Tenant) -> Sequence[Case]:
        """Of the newest release. Raises NoBindingsError if they cannot be read."""
        current = self._journal.current()
        known = current.tenants.get(tenant) if current is not None else None
        revision = known.revision if known is not None else ""
        with self._mutex:
            found = self._found.get(tenant)
            if found is None or found[0] != revision:
                found = self._found[tenant] = (revision, self._read(tenant))
            return found[1]

    def _read(self, tenant: Tenant) -> tuple[Case, ...]:
        try:
            tree = read_tree(self._journal.policies, self._limits, tenant)
            _, cases = read_cases(tree, tenant, load_root(tree, self._limits), self._limits)
        except (OSError, PolicyError, KeyError) as error:
            raise NoBindingsError(f"the tests of tenant `{tenant}` cannot be read: {error}") from error
        return tuple(each for each in cases if each.always)
