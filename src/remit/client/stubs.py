from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import grpc
from google.protobuf.message_factory import GetMessageClass

from remit.v1 import (
    access_service_pb2,
    audit_service_pb2,
    binding_service_pb2,
    policy_service_pb2,
    reach_service_pb2,
    resource_service_pb2,
    search_service_pb2,
    status_service_pb2,
    visibility_service_pb2,
)

_MODULES: Final = (
    access_service_pb2,
    reach_service_pb2,
    search_service_pb2,
    visibility_service_pb2,
    resource_service_pb2,
    status_service_pb2,
    policy_service_pb2,
    binding_service_pb2,
    audit_service_pb2,
)


class Method(NamedTuple):
    path: str
    """The gRPC path: `/remit.v1.AccessService/Check`."""
    response: Any
    """The class of the response."""


METHODS: Final[Mapping[str, Method]] = {
    method.input_type.full_name: Method(f"/{service.full_name}/{method.name}", GetMessageClass(method.output_type))
    for module in _MODULES
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if not method.server_streaming
}
"""By the full name of the request: each method has its own request class."""


def rpcs_over(channel: grpc.Channel | grpc.aio.Channel) -> Mapping[str, Callable[..., Any]]:
    """The callable for each method, by the full name of its request; awaitable over a channel of grpc.aio."""
    return {
        request: channel.unary_unary(
            method.path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=method.response.FromString,
        )
        for request, method in METHODS.items()
    }


def watching_over(channel: grpc.Channel | grpc.aio.Channel) -> Callable[..., Any]:
    """The callable that starts a WatchRevision."""
    return channel.unary_stream(
        "/remit.v1.PolicyService/WatchRevision",
        request_serializer=policy_service_pb2.WatchRevisionRequest.SerializeToString,
        response_deserializer=policy_service_pb2.WatchRevisionResponse.FromString,
    )


def following_over(channel: grpc.Channel | grpc.aio.Channel) -> Callable[..., Any]:
    """The callable that starts a FollowRecords."""
    return channel.unary_stream(
        "/remit.v1.AuditService/FollowRecords",
        request_serializer=audit_service_pb2.FollowRecordsRequest.SerializeToString,
        response_deserializer=audit_service_pb2.FollowRecordsResponse.FromString,
    )
