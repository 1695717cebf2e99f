"""A process that asks, forks and asks again, for the tests of forks: `forking.py KIND TARGET`.

It prints what each child and then the parent were answered.
"""

import asyncio
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from itertools import repeat
from threading import Thread

from remit.client import AsyncClient, Client, DecisionUnavailable

KIND, TARGET = sys.argv[1:]
ASKED = ("user:bob", "VIEW", "FLOW", "acme.finance")
FORKS = 12
TIMEOUT_S = 20.0
GRACE_S = 60

sync = Client(TARGET, timeout_s=TIMEOUT_S, cache=10 if KIND == "cached" else 0)
aio = AsyncClient(TARGET, timeout_s=TIMEOUT_S, cache=10)


def asked(client: Client = sync) -> str:
    try:
        return client.tenant("acme").check(*ASKED).reason
    except DecisionUnavailable as unavailable:
        return str(unavailable)


def asked_fresh() -> str:
    with Client(TARGET, timeout_s=TIMEOUT_S) as client:
        return asked(client)


async def awaited(client: AsyncClient) -> str:
    async with client:
        try:
            return (await client.tenant("acme").check(*ASKED)).reason
        except DecisionUnavailable as unavailable:
            return str(unavailable)


def until_cached() -> None:
    while sync.tenant("acme").check(*ASKED).decision_id != sync.tenant("acme").check(*ASKED).decision_id:
        pass


def forked(child: Callable[[], str]) -> list[str]:
    """What `child` returns in each child. A child that hangs is killed by its alarm."""
    found = []
    for _ in range(FORKS):
        out, into = os.pipe()
        pid = os.fork()
        if not pid:
            signal.alarm(GRACE_S)
            os.write(into, child().encode())
            os._exit(0)
        os.close(into)
        with os.fdopen(out) as text:
            answer = text.read()
        _, status = os.waitpid(pid, 0)
        found.append(f"status {status}" if status else answer)
    return found


def in_background(work: Callable[[], object]) -> None:
    Thread(target=work, daemon=True).start()


def follow() -> None:
    for _ in sync.follow_records():
        pass


def ask_on() -> None:
    for _ in repeat(None):
        asked()


def cached() -> str:
    until_cached()
    return asked()


async def beside_an_open_client() -> tuple[list[str], str]:
    async with AsyncClient(TARGET, timeout_s=TIMEOUT_S) as opened:
        await opened.tenant("acme").check(*ASKED)
        return forked(asked), (await opened.tenant("acme").check(*ASKED)).reason


def run() -> tuple[list[str], str]:  # noqa: C901 (a list of cases)
    match KIND:
        case "unused":
            return forked(asked), asked()
        case "used":
            asked()
            return forked(asked), asked()
        case "new in the child":
            asked()
            return forked(asked_fresh), asked()
        case "other threads ask":
            for _ in range(3):
                in_background(ask_on)
            asked()
            return forked(asked), asked()
        case "a thread follows":
            in_background(follow)
            asked()
            return forked(asked), asked()
        case "cached":
            until_cached()
            return forked(cached), cached()
        case "multiprocessing":
            asked()
            with multiprocessing.get_context("fork").Pool(2) as pool:
                return [pool.apply(asked) for _ in range(FORKS)], asked()
        case "asyncio, unused":
            return forked(lambda: asyncio.run(awaited(aio))), asyncio.run(awaited(aio))
        case "asyncio, closed":
            asyncio.run(awaited(AsyncClient(TARGET, timeout_s=TIMEOUT_S)))
            return forked(lambda: asyncio.run(awaited(aio))), asyncio.run(awaited(aio))
        case "asyncio, open":
            return asyncio.run(beside_an_open_client())
    raise ValueError(KIND)


children, parent = run()
print(json.dumps({"children": children, "parent": parent}), flush=True)
# Threads go on.
os._exit(0)
