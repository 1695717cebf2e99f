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


_METHODS: Final = [
    (method, Method(f"/{service.full_name}/{method.name}", GetMessageClass(method.output_type)))
    for module in _MODULES
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
METHODS: Final[Mapping[str, Method]] = {
    found.input_type.full_name: method
    for found, method in _METHODS
    if not found.server_streaming and not found.client_streaming
}
"""By the full name of the request: each method has its own request class."""
STREAMS: Final[Mapping[str, Method]] = {
    found.input_type.full_name: method for found, method in _METHODS if found.server_streaming
}
"""Those that answer with a stream."""
UPLOADS: Final[Mapping[str, Method]] = {
    found.input_type.full_name: method for found, method in _METHODS if found.client_streaming
}
"""Those whose requests are a stream."""


def rpcs_over(channel: grpc.Channel | grpc.aio.Channel) -> Mapping[str, Callable[..., Any]]:
    """The callable for each method, by the full name of its request; awaitable over a channel of grpc.aio."""
    return _over(channel.unary_unary, METHODS)


def streams_over(channel: grpc.Channel | grpc.aio.Channel) -> Mapping[str, Callable[..., Any]]:
    """The callable that starts each stream of answers, by the full name of its request."""
    return _over(channel.unary_stream, STREAMS)


def uploads_over(channel: grpc.Channel | grpc.aio.Channel) -> Mapping[str, Any]:
    """The callable for each stream of requests, by the full name of a request. A channel over HTTP has none."""
    upload = getattr(channel, "stream_unary", None)
    return _over(upload, UPLOADS) if upload is not None else {}


def _over(calling: Callable[..., Any], methods: Mapping[str, Method]) -> Mapping[str, Callable[..., Any]]:
    return {
        request: calling(
            method.path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=method.response.FromString,
        )
        for request, method in methods.items()
    }
