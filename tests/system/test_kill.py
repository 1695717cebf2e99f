import random
import time
from collections.abc import Callable
from pathlib import Path

from system.disk import copied, decision_ids
from system.load import Load
from system.server import Server

ROUNDS = 20


def test_kill_9_at_any_moment_loses_no_acknowledged_decision(
    serve: Callable[..., Server], untested: Path, tmp_path: Path
) -> None:
    """Twenty times over one store; each server recovers what the one before it left behind."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    acknowledged: set[bytes] = set()
    server = serve(policies=untested)
    for number in range(ROUNDS):
        if number:
            server.start()
        with Load(server, seed=rng.randrange(1 << 32)) as load:
            load.until_acknowledged(rng.randrange(1, 300))
            time.sleep(rng.uniform(0, 0.03))  # the random moment itself: nothing is waited for
            assert [] == load.failures
            server.kill()
            load.join()
        assert load.acknowledged
        acknowledged |= load.acknowledged
        left_behind = copied(server.folder, tmp_path / f"round-{number}")
        assert set() == acknowledged - decision_ids(left_behind), f"lost in round {number} of seed {seed}"
