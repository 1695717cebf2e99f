from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import grpc
import pytest
from support.clients import CONNECTS, Connect
from support.server import DEADLINE_S

from remit.client import DecisionUnavailable
from remit.v1 import access_service_pb2_grpc


class StartingServicer(access_service_pb2_grpc.AccessServiceServicer):
    """Refuses the first attempt and never answers another one."""

    def __init__(self) -> None:
        self.ends = Event()
        self._asked = False

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 (the RPC's name)
        if self._asked:
            self.ends.wait(DEADLINE_S)
        self._asked = True
        context.abort(grpc.StatusCode.UNAVAILABLE, "the policies are not loaded")


@pytest.mark.parametrize("made", CONNECTS.values(), ids=CONNECTS)
def test_a_deadline_that_passes_during_a_further_attempt_tells_why_the_first_one_failed(made: Connect) -> None:
    servicer = StartingServicer()
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        access_service_pb2_grpc.add_AccessServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            with made(f"127.0.0.1:{port}", timeout_s=2.0) as client, pytest.raises(DecisionUnavailable) as caught:
                client.check("acme", "user:a", "VIEW", "FLOW", "a")
            assert ("UNAVAILABLE", "the policies are not loaded") == (caught.value.code, caught.value.message)
        finally:
            servicer.ends.set()
            server.stop(None).wait()
