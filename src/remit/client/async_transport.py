"""How the client for asyncio sends a request, walks pages and follows a stream."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from functools import wraps
from inspect import currentframe
from types import TracebackType
from typing import Any, Final, Self

import grpc
from google.protobuf.message import Message

from remit.client.call import ClientCall, Item, Pages, Parameters, Result, Stream
from remit.client.decision_cache import DecisionCache
from remit.client.errors import DecisionUnavailable
from remit.client.retry import CHANNEL_OPTIONS, RetryPolicy, ended, only_questions
from remit.client.revision_watch import watch
from remit.client.stubs import following_over, rpcs_over
from remit.client.tls import MutualTls
from remit.v1.audit_service_pb2 import Record

_PRINTS_TASKS: Final = "asyncio.base_tasks"


class PendingQuestion(Coroutine[Any, Any, Result]):
    """A call that must be awaited. It has no truth value: `if client.check(...)` without `await` raises TypeError
    instead of counting as an allow."""

    def __init__(self, asking: Coroutine[Any, Any, Result], name: str) -> None:
        """asyncio prints a task by `name`."""
        self._asking = asking
        self.__name__ = name

    def __bool__(self) -> bool:
        # From Python 3.12 on, asyncio evaluates `if task._coro` to print a task. Only that module gets True: other code
        # of asyncio evaluates what callers' predicates return.
        frame = currentframe()
        if frame is not None and frame.f_back is not None and frame.f_back.f_globals.get("__name__") == _PRINTS_TASKS:
            return True
        raise TypeError("a question that was not asked has no answer: await it")

    def __await__(self) -> Generator[Any, Any, Result]:
        return self._asking.__await__()

    def send(self, value: Any) -> Any:
        return self._asking.send(value)

    def throw(self, *raised: Any) -> Any:
        return self._asking.throw(*raised)

    def close(self) -> None:
        self._asking.close()


def pending(asks: Callable[Parameters, Coroutine[Any, Any, Result]]) -> Callable[Parameters, PendingQuestion[Result]]:
    """Makes the method return a PendingQuestion instead of a plain coroutine."""

    @wraps(asks)
    def method(*args: Parameters.args, **kwargs: Parameters.kwargs) -> PendingQuestion[Result]:
        return PendingQuestion(asks(*args, **kwargs), asks.__qualname__)

    return method


class AsyncTransport:
    """A channel of grpc.aio to one server, and a cache of its answers."""

    def __init__(self, target: str, *, timeout_s: float = 5.0, tls: MutualTls | None = None, cache: int = 0) -> None:
        """`target` is `HOST:PORT`. `timeout_s` is the deadline of each call; until then the call is retried while the
        server is unavailable.

        `cache`: how many answers of `check`, `check_reach` and their guards are kept. They are returned again while the
        server says that the tenant's policy is unchanged. AN ANSWER FROM THE CACHE LEAVES NO AUDIT RECORD; the default
        keeps none.
        """
        self._timeout_s = timeout_s
        self._channel = (
            grpc.aio.insecure_channel(target, CHANNEL_OPTIONS)
            if tls is None
            else grpc.aio.secure_channel(target, tls.credentials(), CHANNEL_OPTIONS)
        )
        self._rpcs = rpcs_over(self._channel)
        self._following = following_over(self._channel)
        self._cache = DecisionCache(cache) if cache else None
        self._watch = asyncio.create_task(watch(self._channel, self._cache)) if self._cache is not None else None

    async def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _ask(self, call: ClientCall[Any, Result]) -> Result:
        with only_questions():
            request = call.request()
            cache = self._cache if call.cacheable else None
            response = cache.get(request) if cache is not None else None
            if response is None:
                response = await self._send(request)
                if cache is not None:
                    cache.put(request, response)
        return call.read(response)

    async def _send(self, request: Message) -> Any:
        rpc = self._rpcs[request.DESCRIPTOR.full_name]
        retry = RetryPolicy(self._timeout_s)
        while True:
            try:
                response = await rpc(request, timeout=retry.left_s)
                break
            except grpc.RpcError as error:
                pause_s = retry.pause_s(error)
            except grpc.aio.UsageError as error:
                raise DecisionUnavailable("INVALID_ARGUMENT", str(error)) from error
            except asyncio.CancelledError as error:
                if _is_being_cancelled():
                    raise
                # Nobody cancelled the caller: the channel was closed during the call.
                raise DecisionUnavailable("CANCELLED", "the client was closed") from error
            await asyncio.sleep(pause_s)
        if response is None:
            # grpc.aio returns None for bytes that are not such a message; grpc raises INTERNAL.
            raise DecisionUnavailable("INTERNAL", "the server's answer is no message of this API")
        return response

    async def _walk(self, pages: Pages[Item]) -> AsyncIterator[Item]:
        token = ""
        while True:
            page = await self._ask(pages(token))
            for item in page.items:
                yield item
            token = page.next_token
            if not token:
                return

    async def _follow(self, stream: Stream) -> AsyncIterator[Record]:
        cursor = ""
        retry = RetryPolicy(self._timeout_s)
        while True:
            with only_questions():
                call = self._following(stream(cursor))
            begun = False
            try:
                async for response in call:
                    begun, cursor = True, response.cursor
                    for record in response.records:
                        yield record
            except grpc.RpcError as error:
                retry = RetryPolicy(self._timeout_s) if begun else retry
                pause_s = retry.pause_s(error)
            except grpc.aio.UsageError as error:
                raise DecisionUnavailable("INVALID_ARGUMENT", str(error)) from error
            except asyncio.CancelledError as error:
                if _is_being_cancelled():
                    raise
                raise DecisionUnavailable("CANCELLED", "the client was closed") from error
            else:
                raise ended()
            finally:
                call.cancel()
            await asyncio.sleep(pause_s)


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
