"""How the client for asyncio sends a request, walks pages and follows a stream."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable, Iterator
from functools import wraps
from inspect import currentframe
from typing import Any, Final, ParamSpec

import grpc
from google.protobuf.message import Message

from remit.client.answers import Answer
from remit.client.batch_parts import BatchParts
from remit.client.call import Item, Response, Result, Stream
from remit.client.connection_probe import is_connection_failure
from remit.client.decision_cache import DecisionCache
from remit.client.decode import at_least_as_asked
from remit.client.errors import DecisionUnavailable, MalformedQuestion
from remit.client.links import ChannelLinks
from remit.client.retry import (
    RetryPolicy,
    kept,
    no_uploads,
    only_open_channels,
    only_questions,
    require_end,
    unavailable,
)
from remit.client.revision_watch import AsyncRevisionWatch

_Parameters = ParamSpec("_Parameters")
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


def pending(asks: Callable[_Parameters, Coroutine[Any, Any, Result]]) -> Callable[_Parameters, PendingQuestion[Result]]:
    """Makes the method return a PendingQuestion instead of a plain coroutine."""

    @wraps(asks)
    def method(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> PendingQuestion[Result]:
        return PendingQuestion(asks(*args, **kwargs), asks.__qualname__)

    return method


class AsyncTransport:
    """Sends the calls of a client over its links, and caches answers."""

    def __init__(self, links: ChannelLinks, timeout_s: float, cache: int) -> None:
        """`timeout_s` is the deadline of each call; `cache` is the number of answers to cache."""
        self._links = links
        links.close = self._close_later
        self._closing: set[asyncio.Task[None]] = set()
        self._timeout_s = timeout_s
        self._cache = DecisionCache(cache) if cache else None
        self._watch = AsyncRevisionWatch(links, self._cache) if self._cache is not None else None

    async def close(self) -> None:
        if self._watch is not None:
            await self._watch.stop()
        for channel in self._links.shut():
            await channel.close()
        await asyncio.gather(*self._closing)

    async def ask(
        self,
        request: Callable[[], Message],
        read: Callable[[Response], Result],
        *,
        retry: RetryPolicy | None = None,
        cacheable: bool = False,
    ) -> Result:
        """What `read` makes of the response. `request` raises AttributeError, TypeError or ValueError for a malformed
        question. Without `retry` the call has the deadline of this client. `cacheable` is one decision, by the revision
        that it names."""
        with only_questions():
            message = request()
        cache = self._cache if cacheable else None
        if cache is not None and self._watch is not None:
            self._watch.start()
        response = cache.get(message) if cache is not None else None
        if response is None:
            response = await self._send(message, retry or RetryPolicy(self._timeout_s))
            at_least_as_asked(message, response)
            if cache is not None:
                cache.put(message, response)
        return read(response)

    async def ask_parts(self, batch: BatchParts[Any]) -> list[Answer | DecisionUnavailable]:
        """The results of a batch, within the deadline of one call."""
        retry = RetryPolicy(self._timeout_s)
        while batch.left:
            try:
                await self.ask(batch.request, batch.read, retry=retry)
            except MalformedQuestion as refusal:
                batch.halve(refusal)
            retry.answered()
        return batch.results

    async def _send(self, request: Message, retry: RetryPolicy) -> Any:
        while True:
            metadata = self._links.metadata()
            link = self._links.enter()
            try:
                rpc = link.rpcs[request.DESCRIPTOR.full_name]
                with only_open_channels():
                    response = await rpc(request, timeout=retry.left_s, metadata=metadata)
                break
            except grpc.RpcError as error:
                pause_s = await self._pause_s(retry, error)
            except asyncio.CancelledError as error:
                if _is_being_cancelled():
                    raise
                # Nobody cancelled the caller: the channel was closed during the call.
                raise DecisionUnavailable("CANCELLED", "the client was closed") from error
            finally:
                self._links.leave(link)
            await asyncio.sleep(pause_s)
        if response is None:
            # grpc.aio returns None for bytes that are not such a message; grpc raises INTERNAL.
            raise DecisionUnavailable("INTERNAL", "the server's answer is no message of this API")
        return response

    async def walk(self, request: Callable[[], Any], read: Callable[[Any], Iterable[Item]]) -> AsyncIterator[Item]:
        """The items that `read` finds in each page."""
        token = ""

        def of_page() -> Any:
            message = request()
            message.page_token = token
            return message

        while True:
            page: Any = await self.ask(of_page, lambda response: response)
            for item in read(page):
                yield item
            token = page.next_page_token
            if not token:
                return

    async def follow(self, stream: Stream[Item]) -> AsyncIterator[Item]:
        retry = RetryPolicy(self._timeout_s)
        while True:
            with only_questions():
                request = stream.request()
            metadata = self._links.metadata()
            link = self._links.enter()
            call, begun = None, False
            try:
                with only_open_channels():
                    call = self._links.open(link, request, metadata=metadata)
                async for response in call:
                    begun = True
                    for item in stream.read(response):
                        yield item
            except grpc.RpcError as error:
                retry = RetryPolicy(self._timeout_s) if begun else retry
                pause_s = await self._pause_s(retry, error, again=stream.may_resume)
            except grpc.aio.UsageError as error:
                raise DecisionUnavailable("CANCELLED", str(error)) from error
            except asyncio.CancelledError as error:
                if _is_being_cancelled():
                    raise
                raise DecisionUnavailable("CANCELLED", "the client was closed") from error
            else:
                require_end(stream)
                return
            finally:
                if call is not None:
                    call.cancel()
                self._links.leave(link, call)
            await asyncio.sleep(pause_s)

    async def upload(self, request: type[Message], requests: Callable[[], Iterator[Message]], timeout_s: float) -> Any:
        """The response to a stream of requests of one type. It is not sent again."""
        with only_questions():
            messages = requests()
        wrong: list[Exception] = []
        metadata = self._links.metadata()
        link = self._links.enter()
        try:
            rpc = link.uploads.get(request.DESCRIPTOR.full_name)
            if rpc is None:
                raise no_uploads()
            with only_open_channels():
                call = rpc(kept(messages, wrong), timeout=timeout_s, metadata=metadata)
            return await call
        except grpc.RpcError as error:
            if wrong:
                raise MalformedQuestion(str(wrong[0])) from wrong[0]
            cause = await asyncio.to_thread(self._links.cause, error) if is_connection_failure(error) else ""
            raise unavailable(error, cause) from error
        except asyncio.CancelledError as error:
            if _is_being_cancelled():
                raise
            # Of requests that cannot be made, grpc.aio cancels the call.
            if wrong:
                raise MalformedQuestion(str(wrong[0])) from wrong[0]
            raise DecisionUnavailable("CANCELLED", "the client was closed") from error
        finally:
            self._links.leave(link)

    async def _pause_s(self, retry: RetryPolicy, error: grpc.RpcError, *, again: bool = True) -> float:
        """Seconds until the next attempt. Raises DecisionUnavailable if there is none, or must be none `again`."""
        pause_s = retry.pause_s(error) if again else None
        if pause_s is None:
            reason = retry.reason(error)
            cause = await asyncio.to_thread(self._links.cause, reason) if is_connection_failure(reason) else ""
            raise unavailable(reason, cause) from error
        return pause_s

    def _close_later(self, channel: grpc.aio.Channel) -> None:
        """Closes a channel that no call uses. `close` waits for that."""
        closing = asyncio.get_running_loop().create_task(channel.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
