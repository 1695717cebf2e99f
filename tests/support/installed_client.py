"""Asks a server of the example company questions with the client that is installed here: run by tests/installs.py."""

import asyncio
import importlib
import importlib.metadata
import pkgutil
import platform
import sys

import remit.v1
from remit.client import AccessDenied, Asked, AsyncClient, Client, DecisionUnavailable, MalformedQuestion
from remit.core.decision import Reason

ALLOWED = ("user:carol", "VIEW", "FLOW", "acme.finance")
DENIED = ("user:carol", "UPDATE", "FLOW", "acme.finance")
TIMEOUT_S = 30.0


def expect(expected: object, found: object) -> None:
    if expected != found:
        raise SystemExit(f"expected {expected!r}, found {found!r}")


def ask(target: str) -> None:
    with Client(target, timeout_s=TIMEOUT_S) as client:
        answer = client.tenant("acme").guard(*ALLOWED)
        expect((True, Reason.ALLOWED_BY_RULE), (answer.allowed, answer.reason))
        expect("ALLOWED_BY_RULE", f"{answer.reason}")
        try:
            client.tenant("acme").guard(*DENIED)
        except AccessDenied as denied:
            expect(Reason.OUT_OF_SCOPE, denied.answer.reason)
        else:
            expect("a deny", "an allow")
        allowed, denied, malformed = client.tenant("acme").batch_check(
            [Asked(*ALLOWED), Asked(*DENIED), Asked("carol", *ALLOWED[1:])]
        )
        expect((True, False), (bool(allowed), bool(denied)))
        expect(True, isinstance(malformed, MalformedQuestion))
        # Its fields come from the details of the status: googleapis-common-protos and grpcio-status.
        try:
            client.tenant("acme").check("carol", "VIEW", "FLOW", "acme.finance")
        except MalformedQuestion as refusal:
            expect(["question.principal"], [each.field for each in refusal.violations])
        else:
            expect("a refusal", "an answer")
        expect(True, "user:carol" in [each.principal for each in client.tenant("acme").list_principals(*ALLOWED[1:])])
        expect(True, "acme" in [each.tenant for each in client.status().tenants])


def filter_rows(target: str) -> None:
    """The extra `sqlalchemy`."""
    from sqlalchemy import Column, MetaData, String, Table, create_engine, insert, select  # noqa: PLC0415

    from remit.client.sql import where  # noqa: PLC0415

    flows = Table("flows", MetaData(), Column("namespace", String))
    engine = create_engine("sqlite://")
    with Client(target, timeout_s=TIMEOUT_S) as client, engine.begin() as connection:
        flows.create(connection)
        connection.execute(insert(flows), [{"namespace": each} for each in ("acme.finance", "globex.finance")])
        plan = client.tenant("acme").plan_filter(*ALLOWED[:3])
        rows = connection.scalars(select(flows.c.namespace).where(where(plan.namespaces, flows.c.namespace)))
        expect(["acme.finance"], list(rows))
    engine.dispose()


async def ask_asyncio(target: str) -> None:
    questions = [Asked(*ALLOWED), Asked(*DENIED)]
    async with AsyncClient(target, timeout_s=TIMEOUT_S) as client:
        expect(True, (await client.tenant("acme").check(*ALLOWED)).allowed)
        expect(Reason.OUT_OF_SCOPE, (await client.tenant("acme").check(*DENIED)).reason)
        expect([True, False], [bool(each) for each in await client.tenant("acme").batch_check(questions)])
    async with AsyncClient("127.0.0.1:1", timeout_s=0.5) as client:
        try:
            await client.tenant("acme").check(*ALLOWED)
        except DecisionUnavailable:
            return
    expect("no answer", "an answer")


def main() -> None:
    target, version, *extras = sys.argv[1:]
    expect(version, platform.python_version())
    for module in pkgutil.iter_modules(remit.v1.__path__, "remit.v1."):
        importlib.import_module(module.name)
    ask(target)
    asyncio.run(ask_asyncio(target))
    if extras:
        filter_rows(target)
    libraries = ("grpcio", "grpcio-status", "googleapis-common-protos", "protobuf", *extras)
    print(f"  Python {version},", ", ".join(f"{each} {importlib.metadata.version(each)}" for each in libraries))


if __name__ == "__main__":
    main()
