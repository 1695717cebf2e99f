"""The status service over gRPC."""

from collections.abc import Collection
from dataclasses import replace

import grpc

from remit.audit.errors import NO_RECORDS
from remit.audit.ids import format_id
from remit.core.caller_actions import CallerAction
from remit.core.errors import named
from remit.core.names import Tenant, parse_tenant
from remit.fleet.errors import PolicyStoreError
from remit.policy.live import TenantPolicy, TenantState
from remit.rpc.call_context import caller
from remit.rpc.errors import NoShadowError
from remit.rpc.identity import expires_s
from remit.rpc.read_limits import AuditReads
from remit.service.callers import EVERY_TENANT
from remit.service.certificates import ServerCertificates
from remit.service.limits_hit import together
from remit.service.node import ServerNode
from remit.service.version import VERSION
from remit.v1 import status_service_pb2 as messages
from remit.v1 import status_service_pb2_grpc


class StatusServicer(status_service_pb2_grpc.StatusServiceServicer):
    """What this node serves, and its health."""

    def __init__(self, node: ServerNode, certificates: ServerCertificates | None, *, call_timeout_s: float) -> None:
        """`certificates` are those of the server; None without TLS."""
        self._node = node
        self._certificates = certificates
        self._readers = AuditReads(node, call_timeout_s=call_timeout_s)

    def GetStatus(
        self, request: messages.GetStatusRequest, context: grpc.ServicerContext
    ) -> messages.GetStatusResponse:
        del context
        tenants = self._node.live.tenants
        if request.tenant:
            shown: Collection[Tenant] = {named("tenant", parse_tenant, request.tenant)}
        else:
            shown = self._node.rights.tenants(caller.get(), CallerAction.STATUS)
        of_node = self._node.rights.may(caller.get(), CallerAction.STATUS, EVERY_TENANT)
        return messages.GetStatusResponse(
            node=self._node.settings.node,
            version=VERSION,
            started_us=self._node.started_us,
            tree_revision=self._node.live.tree_revision if of_node else "",
            tenants=[
                _tenant_to(policy, inspected=self._inspected(tenant))
                for tenant, policy in sorted(tenants.items())
                if tenant in shown
            ],
            audit=self._audit() if of_node else None,
            workers=self._workers() if of_node else (),
            certificate_expires_us=self._certificate_expires_us() if of_node else 0,
            limits_hit=self._limits_hit() if of_node else (),
            identities_error=self._identities_error() if of_node else "",
            policy_store=self._policy_store() if of_node else None,
        )

    def GetShadow(
        self, request: messages.GetShadowRequest, context: grpc.ServicerContext
    ) -> messages.GetShadowResponse:
        tenant = self._readers.tenant("tenant", request.tenant)
        shadow = self._node.shadow
        if shadow is None:
            raise NoShadowError("this server has no candidate: setting `shadow` names one")
        self._readers.remember("GetShadow", request, tenant, self._readers.time_for(context))
        report = shadow.report.of(tenant) if tenant else shadow.report
        total = report.total
        response = messages.GetShadowResponse(
            directory=str(shadow.directory),
            tree_revision=report.tree_revision,
            since_us=report.since_us,
            errors=[text for _, text in report.errors],
            running=report.running,
            decided=total.decided,
            differing=total.differing,
            skipped=total.skipped,
            rows_unknown=total.rows_unknown,
            dropped=report.dropped,
        )
        for each in report.changes:
            response.changes.add(
                tenant=each.tenant,
                principal=each.principal,
                action=each.action,
                kind=each.kind,
                namespace=each.namespace,
                live=messages.ShadowAnswer(effect=each.was[0], reason=each.was[1]),
                candidate=messages.ShadowAnswer(effect=each.now[0], reason=each.now[1], rule=each.rule),
                decisions=each.records,
                last_decision_id=format_id(each.last),
            )
        return response

    def _policy_store(self) -> messages.PolicyStoreStatus | None:
        journal = self._node.release_journal
        if journal is None:
            return None
        state, current = journal.state(), None
        error = state.error
        try:
            current = journal.current()
        except PolicyStoreError as damaged:
            error = str(damaged)
        return messages.PolicyStoreStatus(
            release=current.seq if current is not None else 0,
            hash=current.hash if current is not None else "",
            age_s=journal.age_s(),
            mode=state.mode,
            error=error if not error or self._inspected() else "the policy store does not answer as it should",
            behind=self._node.behind(),
            nodes=[
                messages.NodeStatus(
                    node=each.node,
                    version=each.version,
                    release=each.seq,
                    hash=each.hash,
                    age_s=each.age_s,
                    behind=each.behind,
                    mode=each.mode,
                    stopped=each.stopped,
                )
                for each in journal.nodes()
            ],
        )

    def _identities_error(self) -> str:
        error = self._node.identities.error
        return error if not error or self._inspected() else "the newest version does not load"

    def _workers(self) -> list[messages.WorkerStatus]:
        own = self._node.report()
        told = [replace(own, restarts=each.restarts) if each.node == own.node else each for each in self._node.workers]
        return [
            messages.WorkerStatus(
                node=each.node,
                serving=each.serving,
                restarts=each.restarts,
                started_us=each.started_us,
                policies=each.policies,
                committed=each.committed,
                error=self._cause(each.error),
                behind=each.behind,
            )
            for each in told
        ]

    def _certificate_expires_us(self) -> int:
        """Of the newest certificate, which new connections get."""
        return 0 if self._certificates is None else int(expires_s(self._certificates.newest().cert) * 1e6)

    def _limits_hit(self) -> list[messages.LimitHit]:
        """Of all workers together."""
        others = [each.limits_hit for each in self._node.workers if each.node != self._node.settings.node]
        return [
            messages.LimitHit(**hit._asdict(), **count._asdict())
            for hit, count in together([self._node.limits_hit.counts(), *others])
        ]

    def _audit(self) -> messages.AuditStatus:
        stats = self._node.journal.stats()
        spool = None
        if self._node.spooling is not None:
            status = self._node.spooling.status
            spool = messages.SpoolStatus(
                spooling=status.spooling, records=status.records, bytes=status.size, error=self._cause(status.error)
            )
        return messages.AuditStatus(
            delivery=self._node.settings.audit_delivery,
            healthy=stats.healthy,
            committed=stats.committed,
            queued=stats.queued,
            store_bytes=self._node.space.taken() or 0,
            free_bytes=self._node.space.free(),
            error=self._cause(stats.error),
            unrecorded=stats.unrecorded,
            spool=spool,
        )

    def _inspected(self, tenant: str = EVERY_TENANT) -> bool:
        return self._node.rights.may(caller.get(), CallerAction.READ, tenant)

    def _cause(self, error: str) -> str:
        """The error text for the caller: a driver's text names hosts, users and files."""
        return error if not error or self._inspected() else NO_RECORDS


def state_to(state: TenantState) -> messages.TenantState.ValueType:
    return messages.TenantState.Value(f"TENANT_STATE_{state.name}")


def _tenant_to(policy: TenantPolicy, *, inspected: bool) -> messages.TenantStatus:
    return messages.TenantStatus(
        tenant=policy.tenant,
        state=state_to(policy.state),
        revision=policy.revision,
        since_us=policy.since_us,
        diagnostics=[
            messages.Diagnostic(file=each.file, line=each.line, column=each.column, message=each.message)
            for each in (policy.diagnostics if inspected else ())
        ],
        hidden_diagnostics=0 if inspected else len(policy.diagnostics),
        rows=policy.snapshot.policy.rows if policy.snapshot is not None else 0,
        files_revision=policy.files_revision,
        pinned_by=policy.pinned_by,
        position=policy.position,
    )
