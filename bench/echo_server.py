"""The floor: a grpc.server that parses remit's own messages and answers a constant, with nothing in between.

`python -m bench.echo_server --listen 127.0.0.1:9099 --threads 8`
"""

import argparse
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc

from remit.v1 import access_service_pb2 as access
from remit.v1 import access_service_pb2_grpc as access_grpc
from remit.v1 import decision_pb2 as decision

# As long as what remit sends: a UUID and a SHA-256.
_DECISION = decision.Decision(
    effect=decision.EFFECT_ALLOW,
    reason=decision.REASON_ALLOWED_BY_RULE,
    decision_id="01890a5d-ac96-774b-bcce-b302099a8057",
)
_REVISION = "0" * 64


class Echo(access_grpc.AccessServiceServicer):
    def __init__(self, batch: int) -> None:
        self._answer = access.CheckResponse(decision=_DECISION, revision=_REVISION)
        self._batch = batch
        self._answers = access.BatchCheckResponse(
            results=[decision.BatchResult(decision=_DECISION) for _ in range(batch)], revision=_REVISION
        )

    def Check(  # noqa: N802
        self,
        request: access.CheckRequest,  # noqa: ARG002
        context: grpc.ServicerContext,  # noqa: ARG002
    ) -> access.CheckResponse:
        return self._answer

    def BatchCheck(  # noqa: N802
        self, request: access.BatchCheckRequest, context: grpc.ServicerContext
    ) -> access.BatchCheckResponse:
        if len(request.questions) != self._batch:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"`questions` has not {self._batch} items")
        return self._answers

    def Explain(  # noqa: N802
        self,
        request: access.ExplainRequest,  # noqa: ARG002
        context: grpc.ServicerContext,
    ) -> access.ExplainResponse:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "an echo explains nothing")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:9099")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--batch", type=int, default=50, help="items in each BatchCheck")
    arguments = parser.parse_args()

    server = grpc.server(ThreadPoolExecutor(arguments.threads), options=[("grpc.so_reuseport", 0)])
    access_grpc.add_AccessServiceServicer_to_server(Echo(arguments.batch), server)
    server.add_insecure_port(arguments.listen)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    server.start()
    stop.wait()
    server.stop(grace=5).wait()


if __name__ == "__main__":
    main()
