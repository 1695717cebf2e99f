"""A fork of the process: what a client does before it, and what a child must renew.

gRPC works in a child if it had been quiet: no thread was in a call, and no channel of grpc.aio existed.
"""

import os
import time
from threading import Lock
from typing import Final
from weakref import WeakSet

from remit.client.errors import DecisionUnavailable

_LONGEST_WAIT_S: Final = 1.0
_SWITCH: Final = "GRPC_ENABLE_FORK_SUPPORT"
_OFF: Final = {"0", "f", "false", "n", "no"}
"""The values of the switch by which gRPC does nothing before a fork."""


class Forkable:
    """A part of a client that a fork concerns."""

    def before_fork(self, deadline: float) -> bool:  # noqa: ARG002 (for those that wait)
        """Makes the part quiet until `deadline`, by the monotonic clock. False if it is not."""
        return True

    def after_fork_in_parent(self) -> None:
        """Goes on."""

    def after_fork_in_child(self) -> None:
        """Forgets what belongs to the parent: connections, threads, tasks and locks."""


class _Forks:
    def __init__(self) -> None:
        self._mutex = Lock()
        self._parts: WeakSet[Forkable] = WeakSet()
        self._forking: list[Forkable] = []
        self._was_quiet = True
        self._used = False
        self._refusal = ""
        if hasattr(os, "register_at_fork"):  # not on Windows
            os.register_at_fork(before=self._before, after_in_parent=self._in_parent, after_in_child=self._in_child)

    def add(self, part: Forkable) -> None:
        with self._mutex:
            self._parts.add(part)

    def begin_grpc(self) -> None:
        """Comes before each channel. Raises DecisionUnavailable in a process where gRPC would never answer."""
        if self._refusal:
            raise DecisionUnavailable("UNAVAILABLE", self._refusal)
        self._used = True

    def _before(self) -> None:
        self._mutex.acquire()
        self._forking = list(self._parts)
        deadline = time.monotonic() + _LONGEST_WAIT_S
        quiet = [part.before_fork(deadline) for part in self._forking]
        self._was_quiet = all(quiet) and not (self._used and os.environ.get(_SWITCH, "").lower() in _OFF)

    def _in_parent(self) -> None:
        for part in self._forking:
            part.after_fork_in_parent()
        self._forking = []
        self._mutex.release()

    def _in_child(self) -> None:
        self._mutex = Lock()
        if not self._was_quiet:
            self._refusal = (
                "this process was forked while gRPC was in use, and gRPC does not work in it: before the fork, close each"
                f" AsyncClient, let calls end and leave {_SWITCH} unset; or start processes by `spawn`"
            )
        for part in self._forking:
            part.after_fork_in_child()
        self._forking = []


FORKS: Final = _Forks()
