import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Self

import grpc
import structlog
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from remit.audit.journal import Drained
from remit.core.names import Tenant
from remit.faces.rpc import health
from remit.faces.rpc.access import AccessFace
from remit.faces.rpc.asking import AskingFace
from remit.faces.rpc.audit import AuditFace
from remit.faces.rpc.calls import CallBoundary
from remit.faces.rpc.following import FOLLOWERS
from remit.faces.rpc.policy import WATCHERS, PolicyFace
from remit.faces.rpc.prompt import CallThreads
from remit.faces.rpc.reach import ReachFace
from remit.faces.rpc.resources import ResourceFace
from remit.faces.rpc.search import SearchFace
from remit.faces.rpc.status import StatusFace
from remit.faces.rpc.visibility import VisibilityFace
from remit.policy.cell import TenantState
from remit.service.errors import StartupError
from remit.service.metrics import serve_metrics
from remit.service.node import Node
from remit.service.settings import Settings
from remit.v1 import (
    access_service_pb2,
    access_service_pb2_grpc,
    audit_service_pb2,
    audit_service_pb2_grpc,
    policy_service_pb2,
    policy_service_pb2_grpc,
    reach_service_pb2,
    reach_service_pb2_grpc,
    resource_service_pb2,
    resource_service_pb2_grpc,
    search_service_pb2,
    search_service_pb2_grpc,
    status_service_pb2,
    status_service_pb2_grpc,
    visibility_service_pb2,
    visibility_service_pb2_grpc,
)

_ASKING: Final[Sequence[tuple[type[AskingFace], Callable[[Any, grpc.Server], None]]]] = (
    (AccessFace, access_service_pb2_grpc.add_AccessServiceServicer_to_server),
    (ReachFace, reach_service_pb2_grpc.add_ReachServiceServicer_to_server),
    (SearchFace, search_service_pb2_grpc.add_SearchServiceServicer_to_server),
    (ResourceFace, resource_service_pb2_grpc.add_ResourceServiceServicer_to_server),
    (VisibilityFace, visibility_service_pb2_grpc.add_VisibilityServiceServicer_to_server),
)
ASKING_SERVICES: Final = tuple(
    service.full_name
    for module in (
        access_service_pb2,
        reach_service_pb2,
        search_service_pb2,
        resource_service_pb2,
        visibility_service_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
)
"""The services that answer questions, and so depend on policies and audit."""
STATUS_SERVICE: Final = status_service_pb2.DESCRIPTOR.services_by_name["StatusService"].full_name
POLICY_SERVICE: Final = policy_service_pb2.DESCRIPTOR.services_by_name["PolicyService"].full_name
AUDIT_SERVICE: Final = audit_service_pb2.DESCRIPTOR.services_by_name["AuditService"].full_name
_HEALTH_EVERY_S: Final = 0.1
# grpcio answers CANCELLED to calls that it has received and not yet handed over when it stops: a moment of refusals
# before that tells busy callers UNAVAILABLE, which they may try elsewhere.
_REFUSING_S: Final = 0.2

_log = structlog.get_logger("remit")


class Server:
    """The gRPC server of a node, with health, reflection and the metrics endpoint."""

    def __init__(self, node: Node) -> None:
        """Binds the addresses, without serving yet. Raises StartupError where it cannot."""
        settings = node.settings
        self._node = node
        self._stopping = threading.Event()
        self._told: set[Tenant] = set()
        self._health = health.Health()
        self._calls = CallBoundary(node.metrics, node.point.let_go_then, authenticated=settings.mutual_tls is not None)
        self._server = grpc.server(
            CallThreads(settings.threads),
            maximum_concurrent_rpcs=settings.max_calls,
            options=[
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                # Two servers on one port would share its calls, each with policies of its own. Workers are to.
                ("grpc.so_reuseport", int(settings.workers > 1)),
            ],
        )
        around = self._calls.around
        for face, add in _ASKING:
            asking = face(
                node.point,
                batch_limit=settings.batch_limit,
                max_message_bytes=settings.max_message_bytes,
                call_timeout_s=settings.call_timeout_s,
            )
            add(around(asking), self._server)
        status = StatusFace(node, call_timeout_s=settings.call_timeout_s)
        status_service_pb2_grpc.add_StatusServiceServicer_to_server(around(status), self._server)
        self._policy = PolicyFace(node, call_timeout_s=settings.call_timeout_s)
        # One thread more, to refuse with.
        streams = ThreadPoolExecutor(WATCHERS + 1, thread_name_prefix="remit-revisions")
        policy_service_pb2_grpc.add_PolicyServiceServicer_to_server(around(self._policy, streams), self._server)
        self._audit = AuditFace(node, call_timeout_s=settings.call_timeout_s)
        streams = ThreadPoolExecutor(FOLLOWERS + 1, thread_name_prefix="remit-followers")
        audit_service_pb2_grpc.add_AuditServiceServicer_to_server(around(self._audit, streams), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (
            *ASKING_SERVICES,
            STATUS_SERVICE,
            POLICY_SERVICE,
            AUDIT_SERVICE,
            health.SERVICE,
            reflection.SERVICE_NAME,
        )
        reflection.enable_server_reflection(names, self._server)
        self.port = self._bind(settings)
        self.metrics_port = serve_metrics(settings, node.metrics.registry)

    def start(self) -> Self:
        self._server.start()
        self._set_health()
        threading.Thread(target=self._watch_health, name="remit-health", daemon=True).start()
        return self

    def stop(self) -> Drained:
        """Health turns NOT_SERVING, new calls are refused, calls in flight finish within the grace, the journal
        drains."""
        self._stopping.set()
        self._health.close()
        self._calls.refuse()
        self._policy.close()
        self._audit.close()
        time.sleep(_REFUSING_S)
        self._server.stop(self._node.settings.grace_s).wait()
        return self._node.stop()

    def _bind(self, settings: Settings) -> int:
        try:
            if settings.mutual_tls is None:
                return self._server.add_insecure_port(settings.listen)
            cert, key, client_ca = (path.read_bytes() for path in settings.mutual_tls)
            credentials = grpc.ssl_server_credentials([(key, cert)], client_ca, require_client_auth=True)
            return self._server.add_secure_port(settings.listen, credentials)
        except OSError as error:
            raise StartupError(f"`{error.filename}` cannot be read: {error.strerror}") from error
        except RuntimeError as error:
            raise StartupError(f"cannot listen on `{settings.listen}`: {error}") from error

    def _watch_health(self) -> None:
        while not self._stopping.wait(_HEALTH_EVERY_S):
            self._set_health()

    def _set_health(self) -> None:
        serving = self._node.journal.healthy
        for name in ("", *ASKING_SERVICES):
            self._health.tell(name, serving=serving)
        for name in (STATUS_SERVICE, POLICY_SERVICE, AUDIT_SERVICE):
            self._health.tell(name, serving=True)
        spooling = self._node.spooling
        self._health.tell("audit/store", serving=serving and not (spooling is not None and spooling.status.spooling))
        tenants = self._node.cell.tenants
        for tenant in self._told - tenants.keys():
            self._health.tell(f"tenant/{tenant}", serving=False)
        self._told |= tenants.keys()
        for tenant, policy in tenants.items():
            serves = serving and policy.state is not TenantState.UNAVAILABLE
            self._health.tell(f"tenant/{tenant}", serving=serves)
