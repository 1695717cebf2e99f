"""Brings the releases of a policy store to this node's disk."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import uniform
from threading import Event, Thread
from time import monotonic
from typing import Final

import structlog

from remit.fleet.errors import ForgedReleaseError, PolicyStoreError
from remit.fleet.hints import Hints
from remit.fleet.journal import ReleaseJournal, StoreState
from remit.fleet.node_report import NodeReport
from remit.fleet.store import PolicyStore
from remit.fleet.trust import Trust

BEAT_S: Final = 5.0
"""How often a node reports what it serves, if nothing has changed."""
_LEAST_S: Final = 0.1
_FEW: Final = 100
"""With more tenants, most polls only count their changes."""
_LOADING: Final = 0.1
"""A node that does not serve its release yet looks again after this share of the time that it has not, and not before the
least pause."""
_SLOW_S: Final = 0.5
"""A node that does not serve all changes of its release for so long says so."""
_SPREAD: Final = 0.2
"""Share by which a poll comes earlier or later, so that the nodes of a fleet do not ask all at once."""

_log = structlog.get_logger("remit")


class Puller:
    """The one process of a node that asks the policy store.

    It looks at a hint, and every `poll_s` in any case; verifies every release, writes it to the journal, and reports what the
    node serves. Decisions do not wait for it.
    """

    def __init__(
        self,
        store: PolicyStore,
        journal: ReleaseJournal,
        *,
        node: str,
        version: str,
        trust: Trust,
        poll_s: float,
        most_bytes: int,
    ) -> None:
        """`most_bytes` is the limit of a folder's files."""
        self._store = store
        self._journal = journal
        self._node = node
        self._version = version
        self._trust = trust
        self._poll_s = poll_s
        self._most_bytes = most_bytes
        self._instance = journal.instance
        self._stopping = Event()
        self._hints: Hints | None = None
        self._thread: Thread | None = None
        self._behind: Callable[[], Sequence[str]] = tuple
        self._known = journal.known()
        self._error = ""
        self._shares_name = False
        self._seen: NodeReport | None = None
        self._told: NodeReport | None = None
        self._changed_s = self._next_look_s = self._next_whole_s = self._next_beat_s = 0.0

    def first(self) -> None:
        """Pulls once, for a start. Without the store, what the journal holds may serve. Raises PolicyStoreError if it holds
        nothing."""
        try:
            self._pull()
            self._note("", "")
        except (PolicyStoreError, ForgedReleaseError, OSError) as error:
            self._note("", str(error))
            if not self._known.seq:
                raise PolicyStoreError(f"there is no policy to serve: {error}") from error
            _log.warning("starts with the release on disk", release=self._known.seq, error=str(error))
        if not self._known.seq:
            raise PolicyStoreError(f"nothing was published to `{self._store.url}` yet: `remit publish` does it")

    def begin(self, behind: Callable[[], Sequence[str]]) -> None:
        """Follows the store until `stop`. `behind` names the tenants that do not serve the journal's release yet."""
        self._behind = behind
        self._hints = Hints(self._store, self._journal)
        self._thread = Thread(target=self._follow, args=(self._hints,), name="remit-puller", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        self._stopping.set()
        if self._hints is not None and self._thread is not None:
            self._hints.wake()
            self._thread.join(timeout_s)

    def _follow(self, hints: Hints) -> None:
        hinted = True
        with hints:
            while not self._stopping.is_set():
                failed = ""
                try:
                    wake_s = self._step(hints, hinted=hinted)
                except (PolicyStoreError, ForgedReleaseError, OSError) as error:
                    failed = str(error)
                except Exception as error:  # noqa: BLE001 (a puller that ends would serve the same release for ever)
                    _log.exception("the puller failed")
                    failed = repr(error)
                if failed:
                    self._note(hints.mode, failed)
                    wake_s = self._next_look_s = self._in(min(self._poll_s, BEAT_S))
                hinted = hints.wait(max(wake_s - monotonic(), 0.0))
            try:
                self._beat(replace(self._report(hints.mode), behind=(), stopped=True))
            except PolicyStoreError as error:
                _log.info("the stop of this node is not told to the policy store", error=str(error))

    def _step(self, hints: Hints, *, hinted: bool) -> float:
        """Looks into the store and reports, if either is due. Returns when to come again."""
        looks = hinted or monotonic() >= self._next_look_s
        if looks:
            self._next_look_s = self._in(self._poll_s)
            hints.looked(news=self._pull(glance=not hinted))
        report = self._report(hints.mode)
        if report != self._seen:
            self._seen, self._changed_s = report, monotonic()
        if self._is_news(report) or monotonic() >= self._next_beat_s:
            self._beat(report)
            self._told, self._next_beat_s = report, monotonic() + BEAT_S
        if looks:
            self._note(hints.mode, "")
        # Last: a new connection takes its time, and no news waits for it.
        hints.listen()
        wake_s = min(self._next_look_s, self._next_beat_s)
        if report.behind:
            wake_s = min(wake_s, monotonic() + max(_LEAST_S, (monotonic() - self._changed_s) * _LOADING))
        return wake_s

    def _is_news(self, report: NodeReport) -> bool:
        """Whether others should hear of it now."""
        told = self._told
        if told is None or replace(report, behind=told.behind) != told:
            return True
        if report.behind == told.behind:
            return False
        # A change of rows serves in milliseconds. A report that comes and goes with each would cost more than the change.
        return not report.behind or monotonic() - self._changed_s >= _SLOW_S

    @staticmethod
    def _in(pause_s: float) -> float:
        return monotonic() + pause_s * uniform(1 - _SPREAD, 1 + _SPREAD)

    def _pull(self, *, glance: bool = False) -> bool:
        """Returns whether there was news. Only a `glance` may miss another history, until the next look that is none.

        Raises PolicyStoreError, ForgedReleaseError or OSError; then the present release stays.
        """
        glance = glance and len(self._known.tenants) > _FEW and monotonic() < self._next_whole_s
        if not glance:
            self._next_whole_s = monotonic() + BEAT_S
        pulled = self._store.pull(self._known, self._trust, glance=glance)
        if pulled is None:
            return False
        if pulled.fork:
            _log.error("the policy store has another history", fork=pulled.fork, release=pulled.known.seq)
        try:
            self._journal.put(pulled, self._store.folders, self._most_bytes)
        except Exception:
            # A part of what is here may be lost: then everything is pulled again.
            self._known = self._journal.known()
            raise
        self._known = pulled.known
        _log.info("release pulled", release=pulled.known.seq, publisher=pulled.release.publisher)
        return True

    def _report(self, mode: str) -> NodeReport:
        known = self._known
        return NodeReport(self._node, self._instance, self._version, known.seq, known.hash, tuple(self._behind()), mode)

    def _beat(self, report: NodeReport) -> None:
        shares_name = self._store.beat(report)
        if shares_name and not self._shares_name:
            _log.error("another server reports under the name of this node", node=self._node)
        self._shares_name = shares_name
        self._journal.note_nodes(self._store.nodes())

    def _note(self, mode: str, error: str) -> None:
        if error and error != self._error:
            _log.error("no news from the policy store", error=error)
        if self._error and not error:
            _log.info("the policy store answers again")
        self._error = error
        try:
            self._journal.checked(StoreState(mode, error))
        except OSError as wrong:
            _log.error("the state of the policy store is not noted", error=str(wrong))
