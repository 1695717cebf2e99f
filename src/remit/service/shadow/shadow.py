"""Shadow evaluation: a candidate policy decides recorded questions again in its own process."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event, Thread
from typing import Final, NamedTuple

import structlog

from remit.audit.errors import AuditStoreError
from remit.audit.record import DecisionRecord
from remit.audit.redaction import Redaction
from remit.clock import now_us
from remit.core.diagnostics import PolicyError
from remit.core.names import Tenant
from remit.policy.load import load_tree
from remit.policy.read.limits import Limits
from remit.policy.read.tree import Stamp, stamp
from remit.policy.revisions.archive import RevisionNotStoredError
from remit.process.channel import Channel, ChildProcess, channel_to_parent
from remit.process.errors import ChildEndedError
from remit.service.shadow.past_rows import PastRows
from remit.service.shadow.replay import Counts, Replay, ReplayedChange

_QUEUE: Final = 10_000
"""Records that may wait for the candidate; more are dropped and counted."""
_BATCH: Final = 1_000
_EVERY_S: Final = 0.2
_SCAN_EVERY_S: Final = 1.0
_AGAIN_S: Final = 5.0
_REPORTED: Final = 100
"""The most changes in a report."""
_DISTINCT: Final = 10_000
"""The most distinct changes, so that a candidate that differs everywhere does not fill the memory."""
_NICE: Final = 19

_log = structlog.get_logger("remit")


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """The candidate's results since it was loaded."""

    tree_revision: str = ""
    """The revision of the candidate's files; '' until they have loaded."""
    since_us: int = 0
    """When the files were loaded, microseconds since the Unix epoch."""
    errors: tuple[tuple[str, str], ...] = ()
    """Why the candidate or a tenant of it does not load: pairs of the tenant's name and the text."""
    counts: Mapping[str, Counts] = field(default_factory=dict)
    changes: tuple[ReplayedChange, ...] = ()
    """The first hundred: gains first, then by the number of records."""
    dropped: int = 0
    """Decisions dropped because they did not fit the candidate's budget, since the server started."""
    running: bool = False

    @property
    def total(self) -> Counts:
        return sum(self.counts.values(), Counts())

    def of(self, tenant: str) -> "ShadowReport":
        """The report for one tenant; `dropped` still counts all tenants."""
        return replace(
            self,
            errors=tuple(each for each in self.errors if each[0] in {"", tenant}),
            counts={tenant: self.counts.get(tenant, Counts())},
            changes=tuple(each for each in self.changes if each.tenant == tenant),
        )


@dataclass(frozen=True, slots=True)
class _Order:
    directory: Path
    limits: Limits
    share: float
    redaction: Redaction | None


class _Wanted(NamedTuple):
    """What the candidate's process asks for before it can go on: the archive of a revision, or None if it is not there."""

    tenant: Tenant
    revision: str


class Shadow:
    """Puts decisions to a candidate. A call never waits for it: what does not fit the budget is dropped."""

    def __init__(self, directory: Path, limits: Limits, share: float, redaction: Redaction | None = None) -> None:
        """`share` is the part of one core that the candidate may use, above 0 and at most 1. The report shows questions
        after `redaction`, as the audit does."""
        self.directory = directory
        order = _Order(directory.absolute(), limits, share, redaction)
        self._child = ChildProcess("the process of the candidate", __name__, serve.__name__, order)
        self._waiting: deque[DecisionRecord] = deque()
        self._dropped = 0
        self._report = ShadowReport()
        self._stopping = Event()

    def begin(self, archive_of: Callable[[Tenant, str], bytes]) -> None:
        """`archive_of` gives the archive of a revision that has served. It may raise RevisionNotStoredError and
        AuditStoreError."""
        Thread(target=self._run, args=(archive_of,), name="remit-shadow", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()
        self._child.stop()

    def offer(self, records: Sequence[DecisionRecord]) -> None:
        """Never waits. Thread-safe."""
        if len(self._waiting) + len(records) > _QUEUE:
            self._dropped += len(records)
        else:
            self._waiting.extend(records)

    @property
    def report(self) -> ShadowReport:
        return replace(self._report, dropped=self._dropped)

    def _run(self, archive_of: Callable[[Tenant, str], bytes]) -> None:
        pause_s = 0.0
        while not self._stopping.wait(pause_s):
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _BATCH))]
            try:
                self._log_load(self._report_of(batch, archive_of))
                pause_s = _EVERY_S
            except ChildEndedError as error:
                if not self._stopping.is_set():
                    _log.error("the shadow's process ended; it begins again", error=str(error))
                self._report = replace(self._report, running=False)
                pause_s = _AGAIN_S
        self._child.close()

    def _report_of(self, batch: Sequence[DecisionRecord], archive_of: Callable[[Tenant, str], bytes]) -> ShadowReport:
        with self._child.channel() as channel:
            answer = channel.request(batch)
            while isinstance(answer, _Wanted):
                try:
                    archive = archive_of(*answer)
                except (RevisionNotStoredError, AuditStoreError):
                    archive = None
                answer = channel.request(archive)
        report: ShadowReport = answer
        return report

    def _log_load(self, report: ShadowReport) -> None:
        before, self._report = self._report, report
        if (report.tree_revision, report.errors) == (before.tree_revision, before.errors):
            return
        if report.errors:
            diagnostics = [text for _, text in report.errors]
            _log.error("candidate refused", directory=str(self.directory), diagnostics=diagnostics)
        else:
            _log.info("candidate loaded", directory=str(self.directory), revision=report.tree_revision)


def serve(descriptor: int) -> None:
    """The process: sends one report for each batch of records, until the channel closes."""
    with channel_to_parent(descriptor, _NICE) as channel:
        candidate = _Candidate(channel.receive(), channel)
        while True:
            channel.send(candidate.put(channel.receive()))


class _Candidate:
    def __init__(self, order: _Order, channel: Channel) -> None:
        self._order = order
        self._channel = channel
        self._stamp: Stamp = {}
        self._scanned_at = 0.0
        self._report = ShadowReport(running=True)
        self._replay: Replay | None = None

    def put(self, batch: Sequence[DecisionRecord]) -> ShadowReport:
        if time.monotonic() - self._scanned_at > _SCAN_EVERY_S:
            self._load_changed()
            self._scanned_at = time.monotonic()
        replay = self._replay
        if replay is None:
            return self._report
        worked = time.process_time()
        replay.run(batch)
        report = replace(
            self._report,
            counts=replay.tenants,
            changes=tuple(replay.changes[:_REPORTED]),
        )
        worked = time.process_time() - worked
        # A share of a core means this ratio of work to sleep.
        time.sleep(worked * (1 / self._order.share - 1))
        return report

    def _load_changed(self) -> None:
        seen = stamp(self._order.directory)
        if seen == self._stamp:
            return
        self._stamp = seen
        try:
            tree = load_tree(self._order.directory, self._order.limits, tested=False)
        except PolicyError as error:
            self._report = replace(self._report, errors=tuple(("", str(each)) for each in error.diagnostics))
        except OSError as error:
            self._report = replace(
                self._report, errors=(("", f"`{self._order.directory}` cannot be read: {error.strerror}"),)
            )
        else:
            rows = PastRows(self._archive, self._order.limits)
            self._replay = Replay({tenant: each.snapshot for tenant, each in tree.tenants.items()}, rows, _DISTINCT)
            if self._order.redaction is not None:
                self._replay.redact = self._order.redaction
            errors = tuple((tenant, str(each)) for tenant, of in tree.tenants.items() for each in of.diagnostics)
            since_us = now_us()
            self._report = ShadowReport(tree.tree_revision, since_us, errors, running=True)

    def _archive(self, tenant: Tenant, revision: str) -> bytes:
        content: bytes | None = self._channel.request(_Wanted(tenant, revision))
        if content is None:
            raise RevisionNotStoredError(f"revision `{revision}` of tenant `{tenant}` is not kept")
        return content
