from random import Random

import pytest
from hypothesis import given
from reference import Reference
from strategies import OPERATIONS, World, pick, randoms, worlds
from support.trees import snapshot_of
from worldly import grounds, questions, snapshots, tenants

from remit import wire
from remit.core.errors import MalformedQuestionError
from remit.core.names import Namespace, Word
from remit.engine.queries.operations import Compound
from remit.engine.snapshot import Snapshot
from remit.v1.decision_pb2 import EFFECT_ALLOW


def compounds(snapshot: Snapshot, random: Random) -> list[Compound]:
    return [
        Compound(question.principal, Word(pick(random, tuple(OPERATIONS))), question.namespace)
        for question in questions(snapshot, random)
    ]


@given(worlds, randoms)
def test_an_operation_is_allowed_iff_check_allows_every_part(world: World, random: Random) -> None:
    """And none of the parts of one that is well formed is malformed: an operation has an answer or none of it has."""
    for snapshot in snapshots(world):
        for compound in compounds(snapshot, random):
            try:
                parts = compound.parts(snapshot.policy)
            except MalformedQuestionError:
                continue
            decisions = [snapshot.decide(part) for part in parts]
            told = ((part, decision, "") for part, decision in zip(parts, decisions, strict=True))
            response = wire.operation_to(told, snapshot.revision)
            assert (response.effect == EFFECT_ALLOW) == all(each.allowed for each in decisions)
            assert len(snapshot.policy.vocabulary.operations[compound.operation]) == len(response.parts)


@given(worlds, randoms)
def test_engine_equals_reference(world: World, random: Random) -> None:
    """The parts, their namespaces and their answers equal those of the naive reference."""
    for tenant in tenants(world):
        snapshot, reference = snapshot_of(world.files, tenant), Reference(world.files, tenant)
        for compound in compounds(snapshot, random):
            # Top-level ones too: their parent is the tenant.
            for namespace in {compound.namespace, Namespace(compound.namespace.partition(".")[0])}:
                asked = compound._replace(namespace=namespace)
                expected = reference.operation(*asked)
                if expected is None:
                    with pytest.raises(MalformedQuestionError):
                        asked.parts(snapshot.policy)
                    continue
                answers = [grounds(snapshot.decide(part)) for part in asked.parts(snapshot.policy)]
                assert [each and (each.effect, each.reason) for each in expected] == answers
