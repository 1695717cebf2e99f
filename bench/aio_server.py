"""Check and BatchCheck of a real node, answered by `grpc.aio` instead of remit's own adapter to grpcio.

What is left out (places, rights, metrics of calls, time limits) makes it faster than a server of that kind could be.
`python -m bench.aio_server --policies DIR --listen 127.0.0.1:9099 --audit sqlite:///FILE`
"""

import argparse
import asyncio
import gc
import math
import signal
from functools import partial
from typing import Any

import grpc
import grpc.aio

from remit.audit.errors import JournalUnavailable
from remit.rpc.access import AccessServicer
from remit.rpc.boundary import caller
from remit.service.callers import ANONYMOUS
from remit.service.decision_point import PendingAnswer
from remit.service.node import ServerNode
from remit.service.settings_reader import read_settings
from remit.service.workers.process_settings import ProcessSettings
from remit.v1 import access_service_pb2_grpc as access_grpc


class _Context:
    """What the servicer asks of a call: unlike `grpc.aio`, the time is infinite where there is no deadline."""

    def __init__(self, context: Any) -> None:
        self.invocation_metadata = context.invocation_metadata
        self._context = context

    def time_remaining(self) -> float:
        left_s: float | None = self._context.time_remaining()
        return math.inf if left_s is None else left_s


class AioServicer(access_grpc.AccessServiceServicer):
    """Decides in the event loop. The writer's thread wakes the loop when the record is on disk."""

    def __init__(self, node: ServerNode) -> None:
        settings = node.settings
        self._point = node.point
        self._decide = AccessServicer(
            node.point,
            batch_limit=settings.batch_limit,
            max_message_bytes=settings.max_message_bytes,
            call_timeout_s=settings.call_timeout_s,
        )

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 (the method's name)
        return await self._answered(partial(self._decide._check, request, _Context(context)))  # noqa: SLF001 (what is compared)

    async def BatchCheck(self, request: Any, context: Any) -> Any:  # noqa: N802 (the method's name)
        return await self._answered(partial(self._decide._batch, request, _Context(context)))  # noqa: SLF001 (what is compared)

    async def _answered(self, decide: Any) -> Any:
        caller.set(ANONYMOUS)
        pending: PendingAnswer[Any] = decide()
        loop = asyncio.get_running_loop()
        recorded: asyncio.Future[None] = loop.create_future()

        def committed(error: JournalUnavailable | None) -> None:
            loop.call_soon_threadsafe(recorded.set_exception, error) if error else loop.call_soon_threadsafe(
                recorded.set_result, None
            )

        if not self._point.commit_then(pending, committed):
            return await loop.run_in_executor(None, self._point.commit, pending)
        await recorded
        return pending.answer


async def serve(node: ServerNode, listen: str) -> None:
    server = grpc.aio.server()
    access_grpc.add_AccessServiceServicer_to_server(AioServicer(node), server)  # type: ignore[no-untyped-call]
    server.add_insecure_port(listen)
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", required=True)
    parser.add_argument("--policies", required=True)
    parser.add_argument("--audit", required=True)
    arguments = parser.parse_args()
    flags = {"policies": arguments.policies, "audit": arguments.audit, "revisions": "", "metrics": "", "watch": False}
    node = ServerNode.start(ProcessSettings.single(read_settings(flags)))
    # As remit's own server does.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    asyncio.run(serve(node, arguments.listen))
    node.stop()


if __name__ == "__main__":
    main()
