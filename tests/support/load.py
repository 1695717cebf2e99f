from random import Random

from support.server import Server
from tools.faults import load

from remit.v1 import access_service_pb2 as messages


class Load(load.Load):
    """Questions about acme that need no look at its policy."""

    def __init__(self, server: Server, threads: int = 8, *, seed: int = 0) -> None:
        super().__init__(server, draw, threads, seed=seed)


def draw(rng: Random, count: int) -> load.AskedCheck:
    return load.AskedCheck("acme", [_question(rng) for _ in range(count)])


def _question(rng: Random) -> messages.Question:
    return messages.Question(
        principal=rng.choice(("user:bob", "user:carol", "user:otto", "user:sam")),
        action=rng.choice(("VIEW", "UPDATE")),
        kind="FLOW",
        namespace=rng.choice(("acme.finance", "acme.data.etl", "acme.people")),
        resource_id=f"flow-{rng.randrange(1000)}",
    )
