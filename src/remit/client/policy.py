from remit.client.sync import Client
from remit.client.tls import MutualTls
from remit.v1 import policy_service_pb2 as messages
from remit.v1 import policy_service_pb2_grpc


class PolicyClient(Client):
    """A client for operators, too: lists a tenant's kept revisions, and pins one."""

    def __init__(self, target: str, *, timeout_s: float = 5.0, tls: MutualTls | None = None) -> None:
        super().__init__(target, timeout_s=timeout_s, tls=tls)
        self._policy = policy_service_pb2_grpc.PolicyServiceStub(self._channel)

    def revisions(self, tenant: str) -> messages.ListRevisionsResponse:
        """The revisions that the server keeps of a tenant, newest first."""
        return self._call(self._policy.ListRevisions, lambda: messages.ListRevisionsRequest(tenant=tenant))

    def pin(self, tenant: str, revision: str) -> messages.PinRevisionResponse:
        """Serves a kept revision on that server until it is unpinned. `revision` may be its first digits, at least 8."""
        return self._call(
            self._policy.PinRevision, lambda: messages.PinRevisionRequest(tenant=tenant, revision=revision)
        )

    def unpin(self, tenant: str) -> messages.UnpinRevisionResponse:
        """Serves what the files say again."""
        return self._call(self._policy.UnpinRevision, lambda: messages.UnpinRevisionRequest(tenant=tenant))
