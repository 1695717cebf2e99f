"""The common part of calls that read the audit or a policy: rights, limits, and the record of the read."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore
from typing import Any, Final

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from remit.audit.record import AUDIT_READ
from remit.core.caller_actions import CallerAction
from remit.rpc.call_context import caller, still_called
from remit.rpc.errors import CrowdedError
from remit.service.callers import EVERY_TENANT
from remit.service.compute_turns import waiting
from remit.service.errors import ForbiddenError
from remit.service.node import ServerNode

READERS: Final = 4
"""Reads of the store at a time; others wait. Decisions never wait for one."""
_OF_A_PAGE: Final = ("page_size", "page_token", "cursor")
_MOST_CHARACTERS: Final = 512
_MOST_ITEMS: Final = 20
"""Limits of what a read writes into the audit, whatever the request contains."""


class AuditReads:
    def __init__(self, node: ServerNode, *, call_timeout_s: float) -> None:
        self._node = node
        self._call_timeout_s = call_timeout_s
        self._turns = BoundedSemaphore(READERS)

    def tenant(self, field: str, asked: str) -> str:
        """The tenant that the caller reads; '' for all. Raises as `CallerRights.audit_tenant`."""
        return self._node.rights.audit_tenant(caller.get(), field, asked)

    def require(self, tenant: str) -> None:
        """For streams: raises an error if the credential does not name the caller any more, or if the caller may no
        longer read this tenant; '' for all."""
        still_called.get()()
        rights = self._node.rights
        if tenant:
            rights.require(caller.get(), CallerAction.AUDIT, tenant)
        elif not rights.audits_all(caller.get()):
            raise ForbiddenError(caller.get(), CallerAction.AUDIT, EVERY_TENANT)

    def require_any(self) -> None:
        """Raises ForbiddenError if the caller may read the records of no tenant."""
        self._node.rights.tenants(caller.get(), CallerAction.AUDIT)

    def may_read(self, tenant: str) -> bool:
        """Whether the caller may read the records of this tenant; '' for records of no tenant."""
        return self._node.rights.may(caller.get(), CallerAction.AUDIT, tenant)

    def time_for(self, context: grpc.ServicerContext) -> float:
        """Seconds that the call may take."""
        # Infinite if the caller set no deadline.
        return min(context.time_remaining(), self._call_timeout_s)

    @contextmanager
    def turn(self, timeout_s: float) -> Iterator[None]:
        """Takes a turn to read. Raises CrowdedError if none is free in time."""
        # The store computes, not Python.
        with waiting():
            if not self._turns.acquire(timeout=timeout_s):
                raise CrowdedError(f"{READERS} others have been reading the audit for {timeout_s:g} s")
            try:
                yield
            finally:
                self._turns.release()

    def remember(
        self, call: str, request: Message, tenant: str, timeout_s: float, *, behind: str = "", type_: str = AUDIT_READ
    ) -> None:
        """Records the read, if its caller has a name. Raises JournalUnavailable if the record cannot be written.

        Tokens are not secret and anybody can make one. So a page counts as a separate read, and so does a resumed
        stream. `behind` is where it begins.
        """
        if self._node.settings.tls is None:
            return
        asked: dict[str, Any] = MessageToDict(request, preserving_proto_field_name=True)
        for name in _OF_A_PAGE:
            asked.pop(name, None)
        asking = caller.get()
        detail = {"caller": asking.principal, "call": call, "asked": _bounded(asked)}
        if asking.actor:
            detail["via"] = asking.actor
        if behind:
            detail["behind"] = _bounded(behind)
        # A reader may invent a tenant: recording it would begin a new chain.
        recorded_tenant = tenant if tenant in self._node.live.tenants else ""
        self._node.remember(type_, recorded_tenant, detail=detail, timeout_s=timeout_s)


def _bounded(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= _MOST_CHARACTERS else f"{value[:_MOST_CHARACTERS]}…"
    if isinstance(value, list):
        left_out = len(value) - _MOST_ITEMS
        kept = [_bounded(each) for each in value[:_MOST_ITEMS]]
        return kept if left_out <= 0 else [*kept, f"and {left_out} more"]
    if isinstance(value, dict):
        return {name: _bounded(each) for name, each in value.items()}
    return value
