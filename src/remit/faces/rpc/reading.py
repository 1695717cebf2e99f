"""What the calls that read the audit have in common: who may, how many at a time, and the trace they leave."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore
from typing import Any, Final

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from remit.faces.rpc.calls import caller
from remit.faces.rpc.places import CrowdedError
from remit.service.auditors import Rights
from remit.service.node import Node

READERS: Final = 4
"""Looks into the store at a time; others wait. Decisions never wait for any."""
_OF_A_PAGE: Final = ("page_size", "page_token", "cursor")


class Readers:
    def __init__(self, node: Node, *, call_timeout_s: float) -> None:
        self._node = node
        self._call_timeout_s = call_timeout_s
        self._turns = BoundedSemaphore(READERS)

    def rights(self) -> Rights:
        """The caller's. Raises NotAnAuditorError."""
        return self._node.settings.rights_of(caller.get())

    def time_for(self, context: grpc.ServicerContext) -> float:
        """Seconds that the call may take."""
        # Infinite where the caller set no deadline.
        return min(context.time_remaining(), self._call_timeout_s)

    @contextmanager
    def turn(self, timeout_s: float) -> Iterator[None]:
        """Raises CrowdedError where none comes in time."""
        if not self._turns.acquire(timeout=timeout_s):
            raise CrowdedError(f"{READERS} others have been reading the audit for {timeout_s:g} s")
        try:
            yield
        finally:
            self._turns.release()

    def remember(self, call: str, request: Message, tenant: str, timeout_s: float) -> None:
        """The read is recorded, where its caller has a name. Raises JournalUnavailable where it cannot be."""
        if self._node.settings.mutual_tls is None:
            return
        asked: dict[str, Any] = MessageToDict(request, preserving_proto_field_name=True)
        detail = {"caller": caller.get(), "call": call, "asked": asked}
        self._node.remember("AUDIT_READ", tenant, detail=detail, timeout_s=timeout_s)
