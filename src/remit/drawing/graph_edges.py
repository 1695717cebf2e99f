from typing import Final

from remit import wire
from remit.core.rows import Effect
from remit.v1 import visibility_service_pb2 as messages

_DENY: Final = wire.EFFECTS[Effect.DENY.value]


def forbidden(edge: messages.VisibleEdge) -> bool:
    return edge.reach == _DENY


def reason_of(edge: messages.VisibleEdge) -> str:
    return wire.REASON_OF[edge.reason].value
