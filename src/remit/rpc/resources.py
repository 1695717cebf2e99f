from functools import partial

import grpc

from remit import wire
from remit.core.errors import named, violation
from remit.core.names import optional_namespace, parse_resource, parse_word
from remit.core.policy import ResourceType
from remit.engine.queries.dedicated import ANY_SERVICE, DedicatedTo, ServedBy
from remit.rpc.encode_answers import resolved_to, served_to
from remit.rpc.query_servicer import QueryServicer, each_once
from remit.v1 import resource_service_pb2 as messages
from remit.v1 import resource_service_pb2_grpc

_parse_service = partial(parse_word, "service")


class ResourceServicer(QueryServicer, resource_service_pb2_grpc.ResourceServiceServicer):
    """Dedicated resources over gRPC."""

    def ResolveDedicated(
        self, request: messages.ResolveDedicatedRequest, context: grpc.ServicerContext
    ) -> messages.ResolveDedicatedResponse:
        tenant, terms = self._terms(request, context)
        inquiry = DedicatedTo(
            named("namespace", optional_namespace, request.namespace),
            each_once(
                "resources", (_type(f"resources[{place}]", number) for place, number in enumerate(request.resources))
            ),
            named("service", _parse_service, request.service) if request.service else ANY_SERVICE,
        )
        return resolved_to(self._point.survey(tenant, inquiry, terms))

    def ListServed(
        self, request: messages.ListServedRequest, context: grpc.ServicerContext
    ) -> messages.ListServedResponse:
        tenant, terms = self._terms(request, context)
        inquiry = ServedBy(_type("resource", request.resource), named("name", parse_resource, request.name))
        return served_to(self._point.survey(tenant, inquiry, terms))


def _type(field: str, number: messages.ResourceType.ValueType) -> ResourceType:
    resource_type = wire.RESOURCE_TYPE_OF.get(number)
    if resource_type is None:
        expected = ", ".join(f"`{messages.ResourceType.Name(each)}`" for each in wire.RESOURCE_TYPE_OF)
        raise violation(field, f"is {number}: expected one of {expected}")
    return resource_type
