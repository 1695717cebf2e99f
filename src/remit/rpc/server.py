"""Assembles the gRPC server of a node."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Self

import grpc
import structlog
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from remit.audit.journal.stats import Drained
from remit.core.addresses import split_address
from remit.core.caller_actions import CallerAction
from remit.core.names import Tenant
from remit.policy.live import TenantPolicy, TenantState
from remit.rpc import health
from remit.rpc.access import AccessServicer
from remit.rpc.admission import SILENT_CALLS, CallClasses, Refusals
from remit.rpc.audit import AuditServicer
from remit.rpc.bindings import BindingServicer
from remit.rpc.boundary import CallBoundary
from remit.rpc.call_limits import LimitedCalls
from remit.rpc.expiry import Expiry
from remit.rpc.identity import CallerIdentities, Credential
from remit.rpc.inline_calls import CallThreads
from remit.rpc.policy import PolicyServicer
from remit.rpc.query_servicer import QueryServicer
from remit.rpc.reach import ReachServicer
from remit.rpc.reloading_credentials import reloading_credentials
from remit.rpc.resources import ResourceServicer
from remit.rpc.search import SearchServicer
from remit.rpc.status import StatusServicer
from remit.rpc.visibility import VisibilityServicer
from remit.service.callers import EVERY_TENANT
from remit.service.certificates import ServerCertificates
from remit.service.errors import StartupError
from remit.service.identities.errors import CredentialRefusedError
from remit.service.metrics_at_scrape import watch_calls
from remit.service.metrics_endpoint import Readiness, serve_metrics
from remit.service.node import ServerNode
from remit.service.settings import Settings
from remit.service.workers.port import addresses_to_bind, shown
from remit.v1 import (
    access_service_pb2,
    access_service_pb2_grpc,
    audit_service_pb2,
    audit_service_pb2_grpc,
    binding_service_pb2,
    binding_service_pb2_grpc,
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

_ASKING: Final[Sequence[tuple[type[QueryServicer], Callable[[Any, Any], None]]]] = (
    (AccessServicer, access_service_pb2_grpc.add_AccessServiceServicer_to_server),
    (ReachServicer, reach_service_pb2_grpc.add_ReachServiceServicer_to_server),
    (SearchServicer, search_service_pb2_grpc.add_SearchServiceServicer_to_server),
    (ResourceServicer, resource_service_pb2_grpc.add_ResourceServiceServicer_to_server),
    (VisibilityServicer, visibility_service_pb2_grpc.add_VisibilityServiceServicer_to_server),
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
BINDING_SERVICE: Final = binding_service_pb2.DESCRIPTOR.services_by_name["BindingService"].full_name
AUDIT_SERVICE: Final = audit_service_pb2.DESCRIPTOR.services_by_name["AuditService"].full_name
_SERVICES: Final = (
    *ASKING_SERVICES,
    STATUS_SERVICE,
    POLICY_SERVICE,
    BINDING_SERVICE,
    AUDIT_SERVICE,
    health.SERVICE,
    reflection.SERVICE_NAME,
)
_HEALTH_EVERY_S: Final = 0.1
WITHOUT_MESSAGE: Final = "without a message"
"""In metrics, the class of calls whose message has not arrived yet."""
_OPTIONS: Final = (
    # Streams in flight per connection; more wait in the client.
    ("grpc.max_concurrent_streams", 128),
    # Time for a connection to complete its handshake.
    ("grpc.server_handshake_timeout_ms", 10_000),
    # Detect peers that vanished: their streams would keep their places.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # All headers of a call together. Above the first number gRPC refuses some calls, by chance, and all above the second:
    # its own first number, 8 KiB, is that of a token alone.
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.absolute_max_metadata_size", 24 * 1024),
)
# When grpcio stops, it answers CANCELLED to calls that it received but did not pass on. So refuse calls for a short
# time first: callers get UNAVAILABLE, and may try another node.
_REFUSING_S: Final = 0.2

_log = structlog.get_logger("remit")


class Server:
    """The gRPC server of a node, with health, reflection and the metrics endpoint."""

    def __init__(self, node: ServerNode) -> None:
        """Binds the addresses, without serving yet. Raises StartupError if it cannot."""
        settings = node.settings
        self._node = node
        self._started = threading.Event()
        self._stopping = threading.Event()
        self._seen: Mapping[Tenant, TenantPolicy] = {}
        """The tenants that the health service knows, and `_served`: as of which state of the node."""
        self._served = False
        self._health = health.Health(node.rights)
        authenticated = settings.tls is not None
        self.classes = classes = CallClasses(
            max_calls=settings.max_calls, threads=settings.threads, callers_have_names=authenticated
        )
        refusals = Refusals(node.metrics, node.limits_hit)
        self.expiry = Expiry()
        threads = CallThreads(
            settings.threads,
            self.expiry,
            message_timeout_s=settings.message_timeout_s,
            silent_calls=SILENT_CALLS,
            refused=lambda reason: refusals.add(WITHOUT_MESSAGE, reason, ""),
        )
        if not threads.supported:
            _log.warning("this grpcio is unknown: every call takes a thread, and holds it until its message is here")
        watch_calls(
            node.metrics.registry,
            lambda: {**{each.calls: each.count for each in classes.limiters}, WITHOUT_MESSAGE: threads.silent},
        )
        self._identities = CallerIdentities(
            node.identities,
            lambda: node.tokens.verifier,
            authenticated=authenticated,
            require_act_for=lambda found: node.rights.require(found, CallerAction.ACT_FOR, EVERY_TENANT),
        )
        self._deciding = set(ASKING_SERVICES)
        self.boundary = CallBoundary(
            node.metrics,
            node.point.commit_then,
            refusals=refusals,
            rights=node.rights,
            forbidden=node.refused_calls,
            limited=LimitedCalls(lambda: node.identities.current.limits, lambda: node.live.tenants),
            identities=self._identities,
            prompt=threads.supported,
        )
        self._server = grpc.server(
            threads,
            # grpcio's own limit does not know classes.
            maximum_concurrent_rpcs=None if threads.supported else settings.max_calls,
            options=[
                *_OPTIONS,
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.max_connection_age_ms", int(settings.connection_max_age_s * 1000)),
                ("grpc.max_connection_age_grace_ms", int(settings.grace_s * 1000)),
                # Two servers on one port would share its calls, with different policies. Workers should share it.
                ("grpc.so_reuseport", int(settings.workers > 1)),
            ],
        )
        limits: dict[str, Any] = {
            "batch_limit": settings.batch_limit,
            "max_message_bytes": settings.max_message_bytes,
            "call_timeout_s": settings.call_timeout_s,
        }
        for face, add in _ASKING:
            asking = face(node.point, **limits)
            self.boundary.add(self._server, add, asking, classes.queries, at_once=classes.decisions)
        self._policy = PolicyServicer(node, **limits)
        self._bindings = BindingServicer(node, call_timeout_s=settings.call_timeout_s)
        self._audit = AuditServicer(node, call_timeout_s=settings.call_timeout_s)
        operations, reflecting = classes.operations, classes.reflection
        certificates = ServerCertificates.of(settings)
        add_to_server = partial(self.boundary.add, self._server)
        add_to_server(
            status_service_pb2_grpc.add_StatusServiceServicer_to_server,
            StatusServicer(node, certificates, call_timeout_s=settings.call_timeout_s),
            operations,
        )
        add_to_server(
            policy_service_pb2_grpc.add_PolicyServiceServicer_to_server,
            self._policy,
            operations,
            streams=classes.revision_watchers,
            others=dict.fromkeys(PolicyServicer.reads, classes.queries),
        )
        add_to_server(
            binding_service_pb2_grpc.add_BindingServiceServicer_to_server,
            self._bindings,
            classes.queries,
            others={
                "ImportBindings": classes.imports,
                "ExportBindings": classes.exports,
                "WatchBindings": classes.binding_watchers,
            },
        )
        add_to_server(
            audit_service_pb2_grpc.add_AuditServiceServicer_to_server,
            self._audit,
            classes.queries,
            streams=classes.followers,
        )
        add_to_server(
            health_pb2_grpc.add_HealthServicer_to_server, self._health, classes.health, streams=classes.health_watchers
        )
        add_to_server(
            reflection_pb2_grpc.add_ServerReflectionServicer_to_server,
            reflection.ReflectionServicer(_SERVICES),
            reflecting,
        )
        self.port = self._bind(settings, certificates)
        self.metrics_port = serve_metrics(settings, node.metrics.registry, self.may_scrape, self.readiness)

    def decide_by(self, service: str, add: Callable[[Any, Any], None], servicer: object) -> None:
        """Adds a service that answers as the access service does. Call it before `start`."""
        self.boundary.add(self._server, add, servicer, self.classes.queries, at_once=self.classes.decisions)
        self._deciding.add(service)

    def start(self) -> Self:
        self._server.start()
        self._started.set()
        self._set_health()
        threading.Thread(target=self._watch_health, name="remit-health", daemon=True).start()
        return self

    def may_scrape(self, certificate: bytes) -> bool:
        """Whether the caller with this certificate, in PEM, may read the metrics, which name all tenants."""
        rights = self._node.rights
        if not rights.enforced:
            return True
        try:
            scraping = self._identities.caller_of(Credential(certificate, ""))
        except CredentialRefusedError:
            return False
        return rights.may(scraping, CallerAction.STATUS, EVERY_TENANT)

    def readiness(self) -> Readiness:
        if self._stopping.is_set():
            return Readiness.STOPPING
        if not self._started.is_set():
            return Readiness.STARTING
        return Readiness.READY if self._node.healthy else Readiness.UNHEALTHY

    def stop(self, beside: Callable[[], None] = lambda: None) -> Drained:
        """Stops the server: health turns NOT_SERVING, new calls are refused, calls in flight finish within the grace
        period, and the journal drains.

        `beside` stops what else takes calls, and returns when they have ended.
        """
        self._stopping.set()
        self._health.close()
        self.boundary.refuse()
        self._policy.close()
        self._bindings.close()
        self._audit.close()
        time.sleep(_REFUSING_S)
        ended = self._server.stop(self._node.settings.grace_s)
        beside()
        ended.wait()
        self.expiry.stop()
        return self._node.stop()

    def _bind(self, settings: Settings, certificates: ServerCertificates | None) -> int:
        """The port, on all addresses of `listen`."""
        host, port = split_address("listen", settings.listen)

        def add(address: str) -> int:
            if certificates is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, reloading_credentials(certificates))

        try:
            # gRPC would accept binding only one of a name's addresses.
            for _, address in addresses_to_bind(host, port):
                port = add(shown(address))
        except (OSError, RuntimeError) as error:
            raise StartupError(f"cannot listen on `{settings.listen}`: {error}") from error
        return port

    def _watch_health(self) -> None:
        while not self._stopping.wait(_HEALTH_EVERY_S):
            self._set_health()

    def _set_health(self) -> None:
        serving = self._node.healthy
        for name in ("", *self._deciding):
            self._health.tell(name, serving=serving)
        for name in (STATUS_SERVICE, POLICY_SERVICE, BINDING_SERVICE, AUDIT_SERVICE):
            self._health.tell(name, serving=True)
        spooling = self._node.spooling
        self._health.tell("audit/store", serving=serving and not (spooling is not None and spooling.status.spooling))
        tenants, before, turned = self._node.live.tenants, self._seen, serving is not self._served
        # Nearly always nothing has changed: there may be ten thousand tenants.
        if tenants is not before or turned:
            for tenant in before.keys() - tenants.keys():
                self._health.tell(f"{health.TENANT}{tenant}", serving=False)
            for tenant, policy in tenants.items():
                if turned or before.get(tenant) is not policy:
                    serves = serving and policy.state is not TenantState.UNAVAILABLE
                    self._health.tell(f"{health.TENANT}{tenant}", serving=serves)
            self._seen, self._served = tenants, serving
        self._health.end_forbidden()
