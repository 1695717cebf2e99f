from itertools import product

import pytest

from remit import wire
from remit.audit.ids import DecisionIds, format_id
from remit.core.decision import Decision, Reason
from remit.core.errors import FieldViolation, MalformedQuestionError
from remit.core.rows import Effect
from remit.rpc.query_servicer import results_in
from remit.service.decision_point import SeveralAnswers
from remit.v1 import access_service_pb2, decision_pb2, reach_service_pb2

REVISION = "5e" * 32
POSITION = "acme:2:0123456789abcdef"


@pytest.mark.parametrize("response", [access_service_pb2.BatchCheckResponse, reach_service_pb2.BatchCheckReachResponse])
def test_batch_response_equals_the_response_built_from_messages(response: type) -> None:
    """It is put together of bytes: every effect and reason beside malformed items, in their order."""
    decisions = [Decision(effect, reason) for effect, reason in product(Effect, Reason)]
    ids = DecisionIds().take(len(decisions))
    malformed = MalformedQuestionError(FieldViolation("kind", "expected `KIND`"), FieldViolation("action", "é"))
    expected = response(revision=REVISION, position=POSITION)
    results: list = []
    for decision, decision_id in zip(decisions, ids, strict=True):
        results += [(decision, decision_id), malformed]
        wire.fill_decision(expected.results.add().decision, decision, format_id(decision_id))
        violations = [decision_pb2.FieldViolation(field="kind", description="expected `KIND`")]
        violations.append(decision_pb2.FieldViolation(field="action", description="é"))
        expected.results.add().error.field_violations.extend(violations)
    assert expected == results_in(response, SeveralAnswers(REVISION, POSITION, results))
    assert response(revision=REVISION) == results_in(response, SeveralAnswers(REVISION, "", []))
