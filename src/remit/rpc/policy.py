"""The policy service over gRPC: revisions, pins, and what a policy is made of."""

from collections.abc import Collection, Iterator
from typing import Any, ClassVar, Final, NamedTuple

import grpc

from remit.audit.record import POLICY_READ
from remit.core.caller_actions import CallerAction
from remit.core.errors import named
from remit.core.names import Tenant, parse_tenant
from remit.engine.queries.names import NameIndex
from remit.engine.snapshot import Snapshot
from remit.policy.live import TenantPolicy, TenantState
from remit.rpc.call_context import caller, still_called
from remit.rpc.encode_diff import diff_to
from remit.rpc.errors import StoppingError
from remit.rpc.policy_source import SourceReader
from remit.rpc.policy_words import PolicyWordsServicer
from remit.rpc.read_limits import AuditReads
from remit.rpc.record_filter import require_digits
from remit.rpc.status import state_to
from remit.service.callers import Caller
from remit.service.node import ServerNode
from remit.v1 import policy_service_pb2 as messages
from remit.v1 import policy_service_pb2_grpc
from remit.v1.status_service_pb2 import TENANT_STATE_UNSPECIFIED

_CREDENTIAL_EVERY_S: Final = 5.0
"""A watcher whose credential expires is ended this soon."""


class _Told(NamedTuple):
    """The last state of a tenant that a watcher got; no state if there is no such tenant."""

    revision: str
    state: TenantState | None
    since_us: int
    position: str


_NOT_THERE: Final = _Told("", None, 0, "")


class PolicyServicer(PolicyWordsServicer, policy_service_pb2_grpc.PolicyServiceServicer):
    """Policies over gRPC. Watchers do not delay a stop."""

    reads: ClassVar = ("GetVocabulary", "ListNames", "DiffRevisions", "GetSource", "GetTests")
    """The calls that take as long as other queries."""

    def __init__(self, node: ServerNode, **limits: Any) -> None:
        super().__init__(node.point, **limits)
        self._rights = node.rights
        self._reads = AuditReads(node, call_timeout_s=self._call_timeout_s)
        self._source_reader = SourceReader(node, self._reads)
        self._reloader = node.reloader
        self._live = node.live
        self._diffs = node.diffs
        self._names_used = node.names
        self._closed = False

    def close(self) -> None:
        """Ends the watchers' streams with UNAVAILABLE."""
        self._closed = True
        self._live.wake()

    def WatchRevision(
        self, request: messages.WatchRevisionRequest, context: grpc.ServicerContext
    ) -> Iterator[messages.WatchRevisionResponse]:
        only = named("tenant", parse_tenant, request.tenant) if request.tenant else None
        # Wake the loop when a watcher leaves: it still waits for a change.
        if context.add_callback(self._live.wake):
            yield from self._changes(only, context)

    def ListRevisions(
        self, request: messages.ListRevisionsRequest, context: grpc.ServicerContext
    ) -> messages.ListRevisionsResponse:
        del context
        tenant = named("tenant", parse_tenant, request.tenant)
        found, serving = self._reloader.pins.revisions(tenant), self._reloader.pins.serving(tenant)
        inspected = self._rights.may(caller.get(), CallerAction.READ, tenant)
        return messages.ListRevisionsResponse(
            revisions=[
                messages.KeptRevision(
                    revision=each.revision,
                    kept_us=each.kept_us,
                    source=each.source if inspected else "",
                    commit=each.commit if inspected else "",
                    serving=each.revision == serving,
                )
                for each in found
            ]
        )

    def PinRevision(
        self, request: messages.PinRevisionRequest, context: grpc.ServicerContext
    ) -> messages.PinRevisionResponse:
        tenant = named("tenant", parse_tenant, request.tenant)
        require_digits("revision", request.revision)
        replaced = self._reloader.pins.pin(
            tenant,
            request.revision,
            caller.get().principal,
            self._time_for(context),
            lift=request.lift_suspensions,
        )
        told = self._serving(tenant)
        return messages.PinRevisionResponse(revision=told.revision, replaced=replaced, position=told.position)

    def UnpinRevision(
        self, request: messages.UnpinRevisionRequest, context: grpc.ServicerContext
    ) -> messages.UnpinRevisionResponse:
        tenant = named("tenant", parse_tenant, request.tenant)
        self._reloader.pins.unpin(tenant, caller.get().principal, self._time_for(context))
        told = self._serving(tenant)
        state = state_to(told.state) if told.state is not None else TENANT_STATE_UNSPECIFIED
        return messages.UnpinRevisionResponse(revision=told.revision, state=state, position=told.position)

    def DiffRevisions(
        self, request: messages.DiffRevisionsRequest, context: grpc.ServicerContext
    ) -> messages.DiffRevisionsResponse:
        tenant = named("tenant", parse_tenant, request.tenant)
        for field in ("old", "new"):
            if text := getattr(request, field):
                require_digits(field, text)
        timeout_s = self._time_for(context)
        self._reads.remember("DiffRevisions", request, tenant, timeout_s, type_=POLICY_READ)
        return diff_to(self._diffs.diff(tenant, request.old, request.new, timeout_s))

    def GetSource(
        self, request: messages.GetSourceRequest, context: grpc.ServicerContext
    ) -> messages.GetSourceResponse:
        return self._source_reader.get(request, context)

    def GetTests(self, request: messages.GetTestsRequest, context: grpc.ServicerContext) -> messages.GetTestsResponse:
        return self._source_reader.tests(request, context)

    def _changes(self, only: Tenant | None, context: grpc.ServicerContext) -> Iterator[messages.WatchRevisionResponse]:
        told: dict[Tenant, _Told] = {}
        seen = -1
        who = caller.get()
        while True:
            seen = self._live.changed_since(seen, _CREDENTIAL_EVERY_S)
            if not context.is_active():
                return
            if self._closed:
                raise StoppingError("the server is stopping")
            still_called.get()()
            shown = self._watched(who, only)
            now = {name: _told(policy) for name in shown if (policy := self._live.get(name)) is not None}
            gone = dict.fromkeys({*told, *([only] if only is not None else [])} - now.keys(), _NOT_THERE)
            for tenant, each in sorted((now | gone).items()):
                if told.get(tenant) != each:
                    told[tenant] = each
                    yield _change_to(tenant, each)

    def _watched(self, who: Caller, only: Tenant | None) -> Collection[Tenant]:
        """The tenants whose changes the caller may see now. Raises ForbiddenError if there is none."""
        if only is None:
            return self._rights.tenants(who, CallerAction.WATCH)
        self._rights.require(who, CallerAction.WATCH, only)
        return {only}

    def _index(self, snapshot: Snapshot, context: grpc.ServicerContext) -> NameIndex:
        return self._names_used.of(snapshot, self._time_for(context))

    def _time_for(self, context: grpc.ServicerContext) -> float:
        # Infinite if the caller set no deadline.
        return min(context.time_remaining(), self._call_timeout_s)

    def _serving(self, tenant: Tenant) -> _Told:
        policy = self._live.get(tenant)
        return _told(policy) if policy is not None else _NOT_THERE


def _told(policy: TenantPolicy) -> _Told:
    return _Told(policy.revision, policy.state, policy.since_us, policy.position)


def _change_to(tenant: Tenant, told: _Told) -> messages.WatchRevisionResponse:
    if told.state is None:
        return messages.WatchRevisionResponse(tenant=tenant, removed=True)
    return messages.WatchRevisionResponse(
        tenant=tenant,
        revision=told.revision,
        state=state_to(told.state),
        since_us=told.since_us,
        position=told.position,
    )
