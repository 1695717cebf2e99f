from collections.abc import Callable, Sequence
from random import Random
from threading import Lock, Thread
from typing import Final, NamedTuple, Self

import grpc

from remit.audit.ids import parse_id
from remit.core.policy import Policy
from remit.engine.differential.random_questions import random_questions
from remit.pytest_plugin.server_process import DEADLINE_S, ServerProcess
from remit.v1 import access_service_pb2 as messages

from .promise import BrokenPromiseError, until
from .ways import Asks, CallFailedError, OverGrpc, OverHttp

_BATCH: Final = 10


class AskedCheck(NamedTuple):
    """The questions of one call, about one tenant."""

    tenant: str
    questions: Sequence[messages.Question]


Questions = Callable[[Random, int], AskedCheck]


def questions_about(policies: Sequence[Policy]) -> Questions:
    """Draws random questions near the rows of these policies."""

    def draw(rng: Random, count: int) -> AskedCheck:
        policy = rng.choice(policies)
        return AskedCheck(
            policy.tenant,
            [
                messages.Question(
                    principal=each.principal, action=each.action, kind=each.kind, namespace=each.namespace
                )
                for each in random_questions(policy, rng, count)
            ],
        )

    return draw


class Load:
    """Threads that send one call after another, with one question or with ten, until a call fails.

    They remember every acknowledged decision.
    """

    def __init__(
        self, server: ServerProcess, questions: Questions, threads: int = 8, *, seed: int = 0, http: bool = False
    ) -> None:
        """`http`: asks over HTTP instead of gRPC."""
        self.acknowledged: set[bytes] = set()
        self.failures: list[grpc.StatusCode] = []
        self.wrong: list[str] = []
        """Errors that no fault of the server explains."""
        self._questions = questions
        self._mutex = Lock()
        self._stopping = False
        self._way: Asks = OverHttp(server) if http else OverGrpc(server)
        self._threads = [
            Thread(target=self._ask, args=(self._batch if number % 3 == 2 else self._one, Random(seed + number)))
            for number in range(threads)
        ]

    def until_acknowledged(self, count: int) -> None:
        until(lambda: len(self.acknowledged) >= count or self.failures or self.wrong, f"{count} decisions")

    def stop(self) -> None:
        """Sends no further calls, and waits for the calls in flight."""
        self._stopping = True
        self.join()

    def join(self) -> None:
        """Waits for the threads. Raises BrokenPromiseError if a call hangs, or if `wrong` has errors."""
        for thread in self._threads:
            thread.join(DEADLINE_S)
            if thread.is_alive():
                raise BrokenPromiseError("a call neither ends nor fails")
        if self.wrong:
            raise BrokenPromiseError("; ".join(self.wrong))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._way.close()
        for thread in self._threads:
            thread.join(DEADLINE_S)

    def _ask(self, ask: Callable[[Random], list[str]], rng: Random) -> None:
        while not self._stopping:
            try:
                decision_ids = [parse_id(each) for each in ask(rng)]
            except CallFailedError as error:
                with self._mutex:
                    self.failures.append(error.code)
                    if error.code is not grpc.StatusCode.UNAVAILABLE and not self._stopping:
                        self.wrong.append(str(error))
                return
            except ValueError as error:
                with self._mutex:
                    if not self._stopping:
                        self.wrong.append(str(error))
                return
            with self._mutex:
                if self.acknowledged.intersection(decision_ids) or len(set(decision_ids)) < len(decision_ids):
                    self.wrong.append("a decision id was given twice")
                self.acknowledged.update(decision_ids)

    def _one(self, rng: Random) -> list[str]:
        tenant, (question,) = self._questions(rng, 1)
        request = messages.CheckRequest(tenant=tenant, question=question)
        return [self._way.ask(request).decision.decision_id]

    def _batch(self, rng: Random) -> list[str]:
        tenant, questions = self._questions(rng, _BATCH)
        request = messages.BatchCheckRequest(tenant=tenant, questions=questions)
        results = self._way.ask(request).results
        return [each.decision.decision_id for each in results]
