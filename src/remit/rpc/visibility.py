from random import SystemRandom
from typing import Final

import grpc

from remit import wire
from remit.core.errors import named, violation
from remit.core.names import Word, parse_action, parse_principal
from remit.engine.inquiry import TooLargeError
from remit.engine.queries.visibility import VisibleTo
from remit.rpc.encode_answers import graph_to
from remit.rpc.query_servicer import QueryServicer
from remit.v1 import visibility_service_pb2 as messages
from remit.v1 import visibility_service_pb2_grpc

_VIEW: Final = Word("VIEW")


class VisibilityServicer(QueryServicer, visibility_service_pb2_grpc.VisibilityServiceServicer):
    """Visibility over gRPC."""

    def VisibleGraph(
        self, request: messages.VisibleGraphRequest, context: grpc.ServicerContext
    ) -> messages.VisibleGraphResponse:
        tenant, terms = self._terms(request, context)
        if request.hidden not in messages.HiddenNodes.values():
            raise violation("hidden", f"{request.hidden} is no value of HiddenNodes: expected STUB or OMIT")
        inquiry = VisibleTo(
            named("principal", parse_principal, request.principal),
            named("action", parse_action, request.action) if request.action else _VIEW,
            wire.graph_from(request),
            None if request.hidden == messages.HIDDEN_NODES_OMIT else SystemRandom(),
        )
        response = graph_to(self._point.survey(tenant, inquiry, terms))
        size = response.ByteSize()
        if size > self._max_message_bytes:
            raise TooLargeError(
                f"the answer would be of {size} bytes: at most `max_message_bytes`, {self._max_message_bytes}, are "
                "sent; ask about parts of the graph, or have the server's setting raised"
            )
        return response
