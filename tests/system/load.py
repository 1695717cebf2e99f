import random
from collections.abc import Callable
from threading import Lock, Thread
from typing import Self

import grpc
from system.server import DEADLINE_S, Server, access_of, until

from remit.audit.ids import parse_id
from remit.v1 import access_service_pb2 as messages


class Load:
    """Threads that ask one question after the other, some alone and some in batches of ten, until an answer fails to
    come, and remember each decision they were told."""

    def __init__(self, server: Server, threads: int = 8, *, seed: int = 0) -> None:
        self.acknowledged: set[bytes] = set()
        self.failures: list[grpc.StatusCode] = []
        self.wrong: list[str] = []
        """What should never happen, whatever becomes of the server."""
        self._mutex = Lock()
        self._stopping = False
        self._channel = server.channel()
        self._access = access_of(self._channel)
        self._threads = [
            Thread(target=self._ask, args=(self._batch if number % 3 == 2 else self._one, random.Random(seed + number)))
            for number in range(threads)
        ]

    def until_acknowledged(self, count: int) -> None:
        until(lambda: len(self.acknowledged) >= count or self.failures or self.wrong, f"{count} decisions")

    def stop(self) -> None:
        """No further questions; what is in flight ends."""
        self._stopping = True
        self.join()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive(), "a call neither ends nor fails"
        assert [] == self.wrong

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._channel.close()
        for thread in self._threads:
            thread.join(DEADLINE_S)

    def _ask(self, ask: Callable[[random.Random], list[str]], rng: random.Random) -> None:
        while not self._stopping:
            try:
                told = [parse_id(each) for each in ask(rng)]
            except grpc.RpcError as error:
                with self._mutex:
                    self.failures.append(error.code())
                    if error.code() is not grpc.StatusCode.UNAVAILABLE and not self._stopping:
                        self.wrong.append(f"{error.code()}: {error.details()}")
                return
            except ValueError as error:
                with self._mutex:
                    if not self._stopping:
                        self.wrong.append(str(error))
                return
            with self._mutex:
                if self.acknowledged.intersection(told) or len(set(told)) < len(told):
                    self.wrong.append("a decision id was given twice")
                self.acknowledged.update(told)

    def _one(self, rng: random.Random) -> list[str]:
        request = messages.CheckRequest(tenant="acme", question=_question(rng))
        return [self._access.Check(request, timeout=DEADLINE_S).decision.decision_id]

    def _batch(self, rng: random.Random) -> list[str]:
        request = messages.BatchCheckRequest(tenant="acme", questions=[_question(rng) for _ in range(10)])
        results = self._access.BatchCheck(request, timeout=DEADLINE_S).results
        return [each.decision.decision_id for each in results]


def _question(rng: random.Random) -> messages.Question:
    return messages.Question(
        principal=rng.choice(("user:bob", "user:carol", "user:otto", "user:sam")),
        action=rng.choice(("VIEW", "UPDATE")),
        kind="FLOW",
        namespace=rng.choice(("acme.finance", "acme.data.etl", "acme.people")),
        resource_id=f"flow-{rng.randrange(1000)}",
    )
