import sys
import time
from collections.abc import Callable
from dataclasses import replace
from threading import Condition, Event, Lock, Thread
from typing import Any, Final

import structlog

from remit.audit.errors import AuditStoreError, StoreAwayError
from remit.audit.store.shards import migrate
from remit.audit.store.store import AuditStore
from remit.core.addresses import split_address
from remit.process.channel import Channel, ChildProcess
from remit.process.errors import ChannelError
from remit.process.memory import without_collector
from remit.service.errors import StartupError
from remit.service.known_stores import refuse_gone
from remit.service.metrics import WorkersMetrics
from remit.service.metrics_endpoint import Readiness, serve_metrics
from remit.service.policy_store import PolicyPuller, is_too_old
from remit.service.settings import Settings
from remit.service.workers.messages import Begin, MayScrape, Order, Refused, Scrape, WorkerReport, WorkerReports
from remit.service.workers.port import PortReservation, cannot_listen, http_taken
from remit.service.workers.process_settings import ProcessSettings

_POLL_EVERY_S: Final = 0.5
_REPORT_EVERY_S: Final = 1.0
_ANSWERS_WITHIN_S: Final = 60.0
"""A worker that does not answer within this time is killed: otherwise it would keep its share of the connections."""
_LEAST_PAUSE_S: Final = 0.1
_MOST_PAUSE_S: Final = 30.0
_EXIT_WITHIN_S: Final = 10.0
_STOPS_WITHIN_S: Final = 30.0
"""Added to the grace periods of calls and journal, for a store that delays its last commits."""

_log = structlog.get_logger("remit")


class _Worker:
    """A worker's place, and the process that runs in it now."""

    def __init__(self, process: ProcessSettings) -> None:
        self.name = process.own.node
        self.process = process
        self.child: ChildProcess | None = None
        self._channel: Channel | None = None
        self.restarts = 0
        self.report = WorkerReport(self.name)
        self.ready = False
        """True once any process in this place was ready."""
        self.drained = True
        self._mutex = Lock()

    def attach(self, channel: Channel | None) -> None:
        """Sets the channel. Pass None before the channel is closed."""
        with self._mutex:
            self._channel = channel

    def ask(self, message: object) -> Any:
        """Raises ChannelError or TimeoutError."""
        with self._mutex:
            if self._channel is None:
                raise ChannelError("there is no process")
            return self._channel.request(message)


class Supervisor:
    """Starts the workers of a node, restarts each that ends, and stops them all. It answers no question itself.

    A worker is a process that calls `function` of `module` with its end of a socket and exchanges `service.workers`
    messages over it. It stops when its supervisor is gone.
    """

    def __init__(self, settings: Settings, module: str, function: str) -> None:
        """Reserves the addresses. Raises StartupError if it cannot."""
        if sys.platform != "linux":
            raise StartupError(
                "`workers` share a port as Linux deals out its connections: leave it out on other systems"
            )
        self._reservation = _reserved("listen", settings.listen, cannot_listen)
        self._http = _reserved("http", settings.http, http_taken) if settings.http else None
        self._http_port = 0 if self._http is None else self._http.port
        self._settings = settings
        self._entry = module, function
        places = range(1, settings.workers + 1)
        self._workers = [
            _Worker(ProcessSettings.worker(settings, place, self._reservation.port, self._http_port))
            for place in places
        ]
        self._threads = [Thread(target=self._supervise, args=(worker,), daemon=True) for worker in self._workers]
        self._changed = Condition()
        self._begun = False
        self._refusal = ""
        self._stopping = Event()
        if settings.audit_migrate:
            try:
                with AuditStore(settings.audit) as store:
                    if store.file is None:
                        refuse_gone(settings, store)
                migrate(settings.audit)
            except StoreAwayError:
                # Each worker decides what to do about a store that is away.
                pass
            except AuditStoreError as error:
                raise StartupError(str(error)) from error
        with without_collector():
            self._puller = PolicyPuller.start(settings)
        self._metrics = WorkersMetrics(self._scrape)
        for worker in self._workers:
            self._metrics.serving.labels(worker.name).set(0)
            self._metrics.restarts.labels(worker.name)
        self._metrics_port = serve_metrics(settings, self._metrics.registry, self._may_scrape, self._readiness)

    def run(self, stop: Event) -> bool:
        """Runs until `stop` is set. Returns True if all workers drained.

        Raises StartupError if the first start of a worker fails, and then stops all workers.
        """
        for thread in self._threads:
            thread.start()
        if self._puller is not None:
            self._puller.begin(self._behind)
        with self._changed:
            # The system may deliver a signal to any thread, but Python handles it in this one, which must wake up for
            # it.
            while not (self._refusal or stop.is_set() or all(worker.report.serving for worker in self._workers)):
                self._changed.wait(_POLL_EVERY_S)
            self._begun = not self._refusal
        if self._begun and not stop.is_set():
            settings = self._settings
            ports = {"port": self._reservation.port, "http_port": self._http_port, "metrics_port": self._metrics_port}
            _log.info("serving", listen=settings.listen, **ports, node=settings.node, workers=settings.workers)
        while self._begun and not stop.wait(_POLL_EVERY_S):
            pass
        drained = self._stop()
        if self._refusal:
            raise StartupError(self._refusal)
        return drained

    def _stop(self) -> bool:
        _log.info("stopping all workers")
        with self._changed:
            self._stopping.set()
            self._changed.notify_all()
            for worker in self._workers:
                if worker.child is not None:
                    worker.child.terminate()
        deadline = time.monotonic() + 2 * self._settings.grace_s + _STOPS_WITHIN_S
        for worker, thread in zip(self._workers, self._threads, strict=True):
            thread.join(max(deadline - time.monotonic(), 0.0))
            if thread.is_alive() and worker.child is not None:
                _log.error("worker killed: it does not stop", worker=worker.name)
                worker.child.kill()
                thread.join()
        self._reservation.close()
        if self._http is not None:
            self._http.close()
        if self._puller is not None:
            self._puller.stop()
        return all(worker.drained for worker in self._workers)

    def _supervise(self, worker: _Worker) -> None:
        """Keeps a process running in this place until the stop."""
        pause_s = 0.0
        while not self._stopping.wait(pause_s):
            began = time.monotonic()
            why = self._run_process(worker)
            with self._changed:
                if self._stopping.is_set():
                    return
                if not self._begun:
                    self._refusal = self._refusal or why
                    self._changed.notify_all()
                    return
            lasted = time.monotonic() - began > _MOST_PAUSE_S
            pause_s = _LEAST_PAUSE_S if lasted else min(max(2 * pause_s, _LEAST_PAUSE_S), _MOST_PAUSE_S)
            worker.restarts += 1
            worker.report = WorkerReport(worker.name, restarts=worker.restarts)
            self._metrics.restarts.labels(worker.name).inc()
            _log.error("worker starts anew", worker=worker.name, because=why, pause_s=pause_s)

    def _run_process(self, worker: _Worker) -> str:
        """Runs one process from start to end. Returns why it ended."""
        with self._changed:
            if self._stopping.is_set():
                return ""
            child = ChildProcess(worker.name, *self._entry)
            try:
                channel = child.start()
            except OSError as error:
                return f"no process can be started: {error.strerror}"
            worker.child = child
        why, served = "", False
        try:
            first = channel.request(Order(worker.process, self._reports()))
            if isinstance(first, Refused):
                why = first.reason
            elif self._all_are_ready(worker):
                channel.request(Begin())
                served = True
                self._watch(worker, channel)
        except TimeoutError:
            why = f"it did not answer for {_ANSWERS_WITHIN_S:g} s"
            child.kill()
        except ChannelError:
            pass
        worker.attach(None)
        if child.join(_EXIT_WITHIN_S) is None and not self._stopping.is_set():
            child.kill()
        code = child.join()
        worker.report = WorkerReport(worker.name, restarts=worker.restarts)
        self._metrics.serving.labels(worker.name).set(0)
        if self._stopping.is_set() and served and code != 0:
            worker.drained = False
        return why or f"worker `{worker.name}` ended with exit code {code}; the log has more"

    def _all_are_ready(self, worker: _Worker) -> bool:
        """At the start, waits until all workers are ready. Returns False if the start fails."""
        with self._changed:
            worker.ready = True
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._refusal or self._stopping.is_set() or all(each.ready for each in self._workers)
            )
            return not (self._refusal or self._stopping.is_set())

    def _watch(self, worker: _Worker, channel: Channel) -> None:
        """Polls the worker until its process is gone. Raises ChannelError or TimeoutError."""
        channel.set_timeout(_ANSWERS_WITHIN_S)
        worker.attach(channel)
        self._metrics.serving.labels(worker.name).set(1)
        while True:
            worker.report = replace(worker.ask(WorkerReports(self._reports())), restarts=worker.restarts)
            with self._changed:
                self._changed.notify_all()
            # The worker sends nothing unasked: the channel becomes readable only when the worker has ended.
            channel.wait(_REPORT_EVERY_S)

    def _reports(self) -> tuple[WorkerReport, ...]:
        return tuple(worker.report for worker in self._workers)

    def _behind(self) -> tuple[str, ...]:
        reports = self._reports()
        silent = [f"{each.node} does not serve" for each in reports if not each.serving]
        return tuple(dict.fromkeys([*silent, *(text for each in reports for text in each.behind)]))

    def _scrape(self) -> dict[str, Any]:
        found = {}
        for worker in self._workers:
            try:
                found[worker.name] = worker.ask(Scrape())
            except (ChannelError, TimeoutError):
                continue
        return found

    def _readiness(self) -> Readiness:
        """Ready while at least one worker serves and every worker that serves writes records.

        Connections lead only to workers that serve, so one that starts anew does not count.
        """
        if self._stopping.is_set():
            return Readiness.STOPPING
        serving = [report for report in self._reports() if report.serving]
        if not (self._begun and serving):
            return Readiness.STARTING
        unhealthy = any(report.error for report in serving) or is_too_old(self._settings)
        return Readiness.UNHEALTHY if unhealthy else Readiness.READY

    def _may_scrape(self, certificate: bytes) -> bool:
        """Any worker knows the rights of callers. False while none answers."""
        for worker in self._workers:
            try:
                return bool(worker.ask(MayScrape(certificate)))
            except (ChannelError, TimeoutError):
                continue
        return False


def _reserved(name: str, address: str, why: Callable[[str, OSError], str]) -> PortReservation:
    """Raises StartupError with the text of `why`."""
    try:
        return PortReservation(*split_address(name, address))
    except OSError as error:
        raise StartupError(why(address, error)) from error
