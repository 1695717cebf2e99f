from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import grpc
import pytest
from support.clients import CONNECTS, Connect
from support.server import DEADLINE_S

from remit.client import Asked, DecisionUnavailable
from remit.v1 import access_service_pb2_grpc
from remit.v1.access_service_pb2 import BatchCheckResponse
from remit.v1.decision_pb2 import BatchResult, ItemError


class StartingServicer(access_service_pb2_grpc.AccessServiceServicer):
    """Refuses the first attempt. Answers so many batches after it, and then nothing."""

    def __init__(self, batches: int = 0) -> None:
        self.ends = Event()
        self._asked = 0
        self._batches = batches

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 (the RPC's name)
        self._attempt(context)

    def BatchCheck(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._attempt(context)
        return BatchCheckResponse(results=[BatchResult(error=ItemError()) for _ in request.questions])

    def _attempt(self, context: grpc.ServicerContext) -> None:
        self._asked += 1
        if self._asked == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the policies are not loaded")
        if self._asked > 1 + self._batches:
            self.ends.wait(DEADLINE_S)
            context.abort(grpc.StatusCode.UNAVAILABLE, "the test is over")


@contextmanager
def serving(servicer: StartingServicer) -> Iterator[str]:
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        access_service_pb2_grpc.add_AccessServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            servicer.ends.set()
            server.stop(None).wait()


@pytest.mark.parametrize("made", CONNECTS.values(), ids=CONNECTS)
def test_a_deadline_that_passes_during_a_further_attempt_tells_why_the_first_one_failed(made: Connect) -> None:
    with serving(StartingServicer()) as target, made(target, timeout_s=2.0) as client:
        with pytest.raises(DecisionUnavailable) as caught:
            client.tenant("acme").check("user:a", "VIEW", "FLOW", "a")
        assert ("UNAVAILABLE", "the policies are not loaded") == (caught.value.code, caught.value.message)


@pytest.mark.parametrize("made", CONNECTS.values(), ids=CONNECTS)
def test_a_part_of_a_batch_does_not_tell_why_another_one_was_tried_again(made: Connect) -> None:
    questions = [Asked("user:a", "VIEW", "FLOW", "a")] * 1_500
    with serving(StartingServicer(batches=1)) as target, made(target, timeout_s=3.0) as client:
        with pytest.raises(DecisionUnavailable) as caught:
            client.tenant("acme").batch_check(questions)
        assert "DEADLINE_EXCEEDED" == caught.value.code
