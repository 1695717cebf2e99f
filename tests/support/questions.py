"""Questions about the example company."""

from remit.v1 import access_service_pb2 as messages
from remit.v1 import decision_pb2

ALLOWED = messages.Question(principal="user:bob", action="VIEW", kind="FLOW", namespace="acme.finance")


def check(
    question: messages.Question = ALLOWED,
    tenant: str = "acme",
    revision: str = "",
    origin: decision_pb2.Origin | None = None,
) -> messages.CheckRequest:
    return messages.CheckRequest(tenant=tenant, question=question, revision=revision, origin=origin)
