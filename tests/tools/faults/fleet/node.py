"""One node of a fleet that is broken, and what its callers write down."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc

from remit.client.stubs import rpcs_over
from remit.core.position import Position, parse_position
from remit.pytest_plugin.server_process import REMIT, ServerProcess
from remit.v1 import access_service_pb2 as messages
from remit.v1 import binding_service_pb2, decision_pb2

from .databases import HOST, url_at
from .history import ChangeCall, CheckCall, RowGrant, SeenAnswer, WriteOutcome
from .network import NodeNetwork
from .proxy import FaultyProxy
from .tenants import ACTION, GRANTER, KIND, RowRequest

_CALL_TIMEOUT_S: Final = 3.0
_REFUSALS: Final = {
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.PERMISSION_DENIED,
}
"""What says that a request changed nothing."""


@dataclass(frozen=True, slots=True)
class FleetOrder:
    """How to make a fleet."""

    folder: Path
    bound_s: float
    """How long news may take to a connected node."""
    launcher: Sequence[str] = REMIT


class FleetNode:
    """A server, with a proxy between it and the store."""

    def __init__(self, order: FleetOrder, name: str, store_port: int) -> None:
        self.name = name
        self.proxy = FaultyProxy(HOST, store_port).start()
        self._order = order
        self.server = self._server(url_at(self.proxy.port))
        self._door: FaultyProxy | None = None
        """Where callers reach the server if it is in a network of its own."""
        self._calls: tuple[grpc.Channel, Mapping[str, Any]] | None = None

    def start(self) -> None:
        """Starts the server, and waits until it serves."""
        self.server.start()
        if self._door is not None:
            self._door.lead_to(HOST, self.server.port)
            self.server.port = self._door.port
        if self._calls is not None:
            self._calls[0].close()
        channel = self.server.channel()
        self._calls = channel, rpcs_over(channel)

    @contextmanager
    def within(self, network: NodeNetwork) -> Iterator[None]:
        """The server, which does not run, starts in this network over the same folder. It does not run after the block."""
        home = self.server, self.proxy
        with (
            FaultyProxy(*self.proxy.target, listen=network.host) as proxy,
            FaultyProxy(HOST, 0, new_socket=network.new_socket) as door,
        ):
            try:
                self.server = self._server(url_at(proxy.port, network.host), *network.prefix)
                self.proxy, self._door = proxy, door
                self.start()
                yield
            finally:
                self.server.__exit__()
                (self._order.folder / f"{self.name}-moved.log").write_text(self.server.log_text() + "\n")
                self.server, self.proxy = home
                self._door = None

    def _server(self, store: str, *prefix: str) -> ServerProcess:
        flags = ("--policy-store", store, "--policy-witness-rows", "0", "--revision-wait-s", "1")
        launcher = (*prefix, *self._order.launcher)
        return ServerProcess(self._order.folder / self.name, *flags, policies=None, node=self.name, launcher=launcher)

    def check(self, tenant: str, principal: str, at_least: Position | None = None) -> CheckCall:
        question = messages.Question(principal=principal, action=ACTION, kind=KIND, namespace="a")
        request = messages.CheckRequest(
            tenant=tenant, question=question, at_least="" if at_least is None else str(at_least)
        )
        began_s = time.monotonic()
        response, error, _ = self._call(request)
        answer = None
        if response is not None:
            allowed = response.decision.effect == decision_pb2.EFFECT_ALLOW
            position = parse_position(response.position) if response.position else None
            answer = SeenAnswer(allowed, response.revision, position)
        return CheckCall(self.name, tenant, principal, at_least, answer, began_s, time.monotonic(), error)

    def change(self, request: RowRequest) -> ChangeCall:
        """Sends the request once."""
        sent = binding_service_pb2.ChangeBindingsRequest(
            tenant=request.tenant,
            grants=[_row(*each.key, each) for each in request.granted],
            revokes=[_row(*each) for each in request.revoked],
            granter=GRANTER,
            expected_position="" if request.expected is None else str(request.expected),
            request_id=request.name,
            reason=request.name,
        )
        began_s = time.monotonic()
        response, error, outcome = self._call(sent)
        position = parse_position(response.position) if response is not None else None
        already = response is not None and len(response.already) == len(request.granted) + len(request.revoked)
        return ChangeCall(
            self.name,
            request.tenant,
            request.name,
            request.granted,
            request.revoked,
            request.expected,
            outcome,
            position,
            already,
            began_s,
            time.monotonic(),
            error,
        )

    def forks(self) -> int:
        """How many records POLICY_FORK the node has written."""
        with self.server.store() as store:
            return len(store.lifecycle(type_="POLICY_FORK"))

    def close(self) -> None:
        self.server.__exit__()
        if self._calls is not None:
            self._calls[0].close()
        self.proxy.close()

    def _call(self, request: Any) -> tuple[Any, str, WriteOutcome]:
        """The response or None, an error, and what that says of a request that writes."""
        assert self._calls is not None
        _, rpcs = self._calls
        try:
            response = rpcs[request.DESCRIPTOR.full_name](request, timeout=_CALL_TIMEOUT_S)
        except (grpc.RpcError, ValueError) as failed:
            if not isinstance(failed, grpc.Call):
                return None, str(failed), WriteOutcome.UNKNOWN
            outcome = WriteOutcome.REFUSED if failed.code() in _REFUSALS else WriteOutcome.UNKNOWN
            return None, f"{failed.code()}: {failed.details()}", outcome
        return response, "", WriteOutcome.ACKNOWLEDGED


def _row(member: str, holds: str, grant: RowGrant | None = None) -> binding_service_pb2.RuntimeRow:
    end_us = grant.expires_us if grant is not None else None
    return binding_service_pb2.RuntimeRow(member=member, holds=holds, expires_us=end_us or 0)
