"""The short form of the long attack, `tests/hostile.py`."""

from collections.abc import Callable
from pathlib import Path

from support.hostile import CLOSED, FLAGS, HANGS, Attack
from support.hostile_calls import METHODS
from support.server import Server

MESSAGES = 8_000


def test_mutated_calls_break_nothing(serve: Callable[..., Server], untested: Path) -> None:
    server = serve(*FLAGS, policies=untested)
    attack = Attack(server, MESSAGES, seed=1)

    attack.run()

    assert [] == attack.broken
    assert MESSAGES == attack.sent == attack.ends.total()
    assert min(attack.ends["OK"], attack.ends["INVALID_ARGUMENT"]) > 200
    assert 0 == attack.ends[HANGS]
    assert attack.ends[CLOSED] < MESSAGES // 10
    assert 0 == server.terminate()


def test_attack_knows_every_service() -> None:
    services = {method.path.split("/")[1] for method in METHODS}

    assert {"remit.v1.AccessService", "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} < services
    assert len(METHODS) > 28
