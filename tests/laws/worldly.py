"""What the laws ask of a world."""

from random import Random

from strategies import World
from support.trees import snapshot_of

from remit.core.decision import Decision
from remit.core.question import Question, ReachQuestion
from remit.engine.differential.random_questions import random_questions, random_reach_questions
from remit.engine.snapshot import Snapshot

QUESTIONS = 20


def tenants(world: World) -> list[str]:
    return list(dict.fromkeys(path.partition("/")[0] for path in world.files if "/" in path))


def snapshots(world: World) -> list[Snapshot]:
    return [snapshot_of(world.files, tenant) for tenant in tenants(world)]


def questions(snapshot: Snapshot, random: Random, count: int = QUESTIONS) -> list[Question]:
    return list(random_questions(snapshot.policy, random, count))


def reach_questions(snapshot: Snapshot, random: Random, count: int = QUESTIONS) -> list[ReachQuestion]:
    return list(random_reach_questions(snapshot.policy, random, count))


def grounds(decision: Decision) -> tuple[str, str]:
    """Effect and reason."""
    return decision.effect.value, decision.reason.value
