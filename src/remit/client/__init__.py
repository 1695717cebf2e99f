"""The client library: asks a remit server, and fails closed.

It has many modules because it stands alone: retries, caching, decoding and TLS are its own.
"""

from remit.client.answers import Answer, OperationAnswer, Part, Plan, ReachAllAnswer, RefusedOwner
from remit.client.async_client import AsyncClient, AsyncTenantClient
from remit.client.errors import AccessDenied, DecisionUnavailable, MalformedQuestion
from remit.client.questions import Asked, AskedReach, Edge, Graph, NamespaceRows, Node, PrincipalRows, RuntimeBinding
from remit.client.streams import GrantedBinding, WatchedChange
from remit.client.sync_client import Client, TenantClient
from remit.client.tls import MutualTls
from remit.v1.audit_service_pb2 import RecordFilter

__all__ = [
    "AccessDenied",
    "Answer",
    "Asked",
    "AskedReach",
    "AsyncClient",
    "AsyncTenantClient",
    "Client",
    "DecisionUnavailable",
    "Edge",
    "GrantedBinding",
    "Graph",
    "MalformedQuestion",
    "MutualTls",
    "NamespaceRows",
    "Node",
    "OperationAnswer",
    "Part",
    "Plan",
    "PrincipalRows",
    "ReachAllAnswer",
    "RecordFilter",
    "RefusedOwner",
    "RuntimeBinding",
    "TenantClient",
    "WatchedChange",
]
