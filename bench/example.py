"""The fixed example, asked of every server in its own words.

user:bob is in group:finance-devs, which holds role:developer in `acme.finance.**`. May he VIEW FLOW below it? The policies
are in bench/example for remit and in bench/cerbos/policies for Cerbos. Cerbos keeps no memberships, so its request brings
bob's groups as roles; the scoped bindings are its derived roles.
"""

from collections.abc import Callable
from dataclasses import dataclass

import grpc

from bench import cerbos_messages
from bench.h2load import VoidFigureError
from remit.v1 import access_service_pb2 as access
from remit.v1 import decision_pb2 as decision

BATCH = 50
_NAMESPACE = "acme.finance.payroll"
_BATCH_NAMESPACES = [f"acme.finance.team-{index}" for index in range(BATCH)]
_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Call:
    """One unary call whose every answer must be `decisions` allows, always of the same length."""

    method: str
    message: bytes
    decisions: int
    allows: Callable[[bytes], int]

    def ask(self, target: str) -> int:
        """Asks once and returns the answer's length in bytes.

        Raises VoidFigureError where the status is not OK or one of the decisions is not an allow.
        """
        with grpc.insecure_channel(target) as channel:
            ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                self.method, request_serializer=bytes, response_deserializer=bytes
            )
            try:
                answer = ask(self.message, timeout=_TIMEOUT_S, wait_for_ready=True)
            except grpc.RpcError as error:
                raise VoidFigureError(f"{target}{self.method}: {error}") from error
        if self.allows(answer) != self.decisions:
            raise VoidFigureError(f"{target}{self.method}: expected {self.decisions} allows, got {self.allows(answer)}")
        return len(answer)


def _check_allows(answer: bytes) -> int:
    return int(access.CheckResponse.FromString(answer).decision.effect == decision.EFFECT_ALLOW)


def _batch_allows(answer: bytes) -> int:
    results = access.BatchCheckResponse.FromString(answer).results
    return sum(result.decision.effect == decision.EFFECT_ALLOW for result in results)


def _cerbos_allows(answer: bytes) -> int:
    return cerbos_messages.effects(answer).count(cerbos_messages.ALLOW)


def remit_check() -> Call:
    question = access.Question(
        principal="user:bob", action="VIEW", kind="FLOW", namespace=_NAMESPACE, resource_id="flow-0"
    )
    message = access.CheckRequest(tenant="acme", question=question).SerializeToString()
    return Call("/remit.v1.AccessService/Check", message, 1, _check_allows)


def remit_batch() -> Call:
    questions = [
        access.Question(action="VIEW", kind="FLOW", namespace=namespace, resource_id=f"flow-{index}")
        for index, namespace in enumerate(_BATCH_NAMESPACES)
    ]
    message = access.BatchCheckRequest(tenant="acme", principal="user:bob", questions=questions).SerializeToString()
    return Call("/remit.v1.AccessService/BatchCheck", message, BATCH, _batch_allows)


def cerbos_check() -> Call:
    return _cerbos([_NAMESPACE])


def cerbos_batch() -> Call:
    return _cerbos(_BATCH_NAMESPACES)


def _cerbos(namespaces: list[str]) -> Call:
    message = cerbos_messages.request("user:bob", ["finance-devs", "staff"], "VIEW", "FLOW", namespaces)
    return Call(cerbos_messages.METHOD, message, len(namespaces), _cerbos_allows)
