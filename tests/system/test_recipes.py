"""The recipes of the documents, in their real frameworks, before a real server."""

import asyncio
import re
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any, NamedTuple

import django
import grpc
import httpx
import pytest
import trustme
import uvicorn
from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.management import call_command
from django.test import AsyncClient as DjangoAsyncClient
from django.test import Client as DjangoClient
from django.urls import clear_url_caches
from google.protobuf.wrappers_pb2 import StringValue
from joserfc import jwt
from joserfc.jwk import OctKey
from support.certificates import Authority
from support.server import DEADLINE_S, Server, free_port, until

from remit.client import AsyncClient, Client

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
KEY = "a key of thirty-two bytes or more"
SAM, CAROL = "sam", "carol"


class Reply(NamedTuple):
    status: int
    body: Any
    headers: Any


Ask = Callable[[str | None, str], Reply]
"""Asks for the flows of a namespace, with the verified identity of a user, or with none."""
Load = Callable[[str, str], ModuleType]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Imports a module of a page, which asks the server at a target."""
    blocks = {
        name: text
        for page in ("web-frameworks.md", "grpc-interceptor.md")
        for name, text in re.findall(
            r"^```python (\S+)\n(.*?)^```$", (HOW_TO / page).read_text(), re.MULTILINE | re.DOTALL
        )
    }
    for name, text in blocks.items():
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("JWT_KEY", KEY)
    monkeypatch.setenv("SESSION_KEY", KEY)

    def loaded(module: str, target: str) -> ModuleType:
        monkeypatch.setenv("REMIT_TARGET", target)
        for name in blocks:
            monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
        return import_module(module)

    return loaded


@pytest.fixture(scope="session")
def users(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Django's users, in a database of their own."""
    settings.configure(
        SECRET_KEY=KEY,
        ROOT_URLCONF="django_urls",
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django_guard.DecisionErrors",
        ],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": tmp_path_factory.mktemp("django") / "users.db",
            }
        },
        ALLOWED_HOSTS=["testserver"],
    )
    django.setup()
    call_command("migrate", verbosity=0)
    from django.contrib.auth.models import User  # noqa: PLC0415 (needs the settings)

    return {name: User.objects.create_user(name) for name in (SAM, CAROL)}


def token(user: str, key: str = KEY, **claims: Any) -> str:
    claims = {"sub": user, "aud": "flows", "exp": int(time.time()) + 600, **claims}
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(key))


@contextmanager
def over_http(app: Any) -> Iterator[httpx.Client]:
    """The application in uvicorn."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical", ws="none"))
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started, "a server")
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE_S, trust_env=False) as client:
        yield client
    server.should_exit = True
    thread.join(DEADLINE_S)


@contextmanager
def fastapi_service(load: Load, target: str, _: Any) -> Iterator[Ask]:
    with over_http(load("fastapi_app", target).app) as client:

        def ask(user: str | None, namespace: str) -> Reply:
            headers = {"X-User": CAROL} | ({"Authorization": f"Bearer {token(user)}"} if user else {})
            answer = client.get(f"/namespaces/{namespace}/flows", headers=headers)
            return Reply(answer.status_code, answer.json(), answer.headers)

        yield ask


@contextmanager
def flask_service(load: Load, target: str, _: Any) -> Iterator[Ask]:
    app = load("flask_app", target).app

    def ask(user: str | None, namespace: str) -> Reply:
        client = app.test_client()
        if user:
            with client.session_transaction() as session:
                session["user"] = user
        answer = client.get(f"/namespaces/{namespace}/flows", headers={"X-User": CAROL})
        return Reply(answer.status_code, answer.json, answer.headers)

    yield ask


def django_service(prefix: str) -> Callable[..., Any]:
    @contextmanager
    def service(load: Load, target: str, request: pytest.FixtureRequest) -> Iterator[Ask]:
        users = request.getfixturevalue("users")
        load("django_urls", target)
        clear_url_caches()

        def ask(user: str | None, namespace: str) -> Reply:
            path = f"{prefix}/namespaces/{namespace}/flows"
            if prefix:
                client = DjangoAsyncClient(raise_request_exception=False)
                answer = async_to_sync(_awaited)(client, users[user] if user else None, path)
            else:
                client = DjangoClient(raise_request_exception=False)
                if user:
                    client.force_login(users[user])
                answer = client.get(path, headers={"X-User": CAROL})
            json = "application/json" in answer.headers["Content-Type"]
            return Reply(answer.status_code, answer.json() if json else None, answer.headers)

        yield ask

    return service


async def _awaited(client: Any, user: Any, path: str) -> Any:
    if user:
        await client.aforce_login(user)
    return await client.get(path, headers={"X-User": CAROL})


SERVICES = {
    "fastapi": fastapi_service,
    "flask": flask_service,
    "django": django_service(""),
    "django, async view": django_service("/async"),
}


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest, load: Load) -> Callable[[str], Any]:
    return lambda target: SERVICES[request.param](load, target, request)


def test_an_allowed_request_is_served(service: Callable[[str], Any], server: Server) -> None:
    with service(server.target) as ask:
        assert (200, {"flows": "of acme.finance"}) == ask(CAROL, "acme.finance")[:2]


def test_a_denied_request_is_403_with_the_reason_and_the_decision(
    service: Callable[[str], Any], server: Server
) -> None:
    with service(server.target) as ask, server.client() as client:
        status, body, _ = ask(SAM, "acme.finance")
        record = client.get_record(body["decision"]).record
    assert (403, "NO_BINDING") == (status, body["reason"])
    assert ("user:sam", "VIEW", "FLOW", "acme.finance") == (
        record.principal,
        record.action,
        record.kind,
        record.namespace,
    )


def test_a_malformed_request_is_400_with_the_field(service: Callable[[str], Any], server: Server) -> None:
    with service(server.target) as ask:
        assert (400, {"fields": ["question.namespace"]}) == ask(CAROL, "ACME")[:2]


def test_a_request_without_a_verified_identity_is_401(service: Callable[[str], Any], server: Server) -> None:
    """Also one with a header that names a user."""
    with service(server.target) as ask:
        assert 401 == ask(None, "acme.finance").status


def test_a_request_without_an_answer_is_503_and_says_when_to_retry(service: Callable[[str], Any]) -> None:
    with service(f"127.0.0.1:{free_port()}") as ask:
        reply = ask(CAROL, "acme.finance")
    assert (503, {}, "1") == (reply.status, reply.body, reply.headers["Retry-After"])


@pytest.mark.parametrize(
    "forged",
    [
        token(CAROL, "another key of thirty-two bytes!!"),
        token(CAROL, exp=int(time.time()) - 60),
        token(CAROL, aud="bills"),
        token(CAROL).rpartition(".")[0] + ".",
        "none",
    ],
    ids=["other key", "expired", "other audience", "no signature", "no token"],
)
def test_fastapi_takes_no_token_that_does_not_verify(load: Load, server: Server, forged: str) -> None:
    with over_http(load("fastapi_app", server.target).app) as client:
        answer = client.get("/namespaces/acme.finance/flows", headers={"Authorization": f"Bearer {forged}"})
    assert (401, "Bearer") == (answer.status_code, answer.headers["WWW-Authenticate"])


def test_flask_takes_no_session_that_it_did_not_sign(load: Load, server: Server) -> None:
    app = load("flask_app", server.target).app
    client = app.test_client()
    with client.session_transaction() as session:
        session["user"] = CAROL
    app.secret_key = "another key of thirty-two bytes!!"
    assert 401 == client.get("/namespaces/acme.finance/flows").status_code


# gRPC

METHODS = ("Get", "Watch", "Put", "Upload")
Call = Callable[..., Any]


def value(request: StringValue) -> StringValue:
    return StringValue(value=f"flows of {request.value}")


def handlers(module: str) -> Any:
    """The service acme.Flows: `Put` is in no question, `Upload` takes a stream."""

    def get(request: StringValue, _: Any) -> StringValue:
        return value(request)

    def watch(request: StringValue, _: Any) -> Iterator[StringValue]:
        yield from [value(request)] * 2

    async def aio_get(request: StringValue, _: Any) -> StringValue:
        return value(request)

    async def aio_watch(request: StringValue, _: Any) -> Any:
        for _ in range(2):
            yield value(request)

    aio = module.startswith("aio")
    codecs = (StringValue.FromString, StringValue.SerializeToString)
    unary = aio_get if aio else get
    return grpc.method_handlers_generic_handler(
        "acme.Flows",
        {
            "Get": grpc.unary_unary_rpc_method_handler(unary, *codecs),
            "Put": grpc.unary_unary_rpc_method_handler(unary, *codecs),
            "Watch": grpc.unary_stream_rpc_method_handler(aio_watch if aio else watch, *codecs),
            "Upload": grpc.stream_unary_rpc_method_handler(unary, *codecs),
        },
    )


class GrpcService:
    """The example's interceptor in a server that requires certificates."""

    def __init__(self, load: Load, module: str, target: str, credentials: grpc.ServerCredentials) -> None:
        self._guard = load(module, target).Guard
        questions = sys.modules["questions"]
        questions.QUESTIONS["/acme.Flows/Watch"] = questions.QUESTIONS["/acme.Flows/Get"]
        self._module, self._target, self._credentials = module, target, credentials

    @contextmanager
    def serving(self) -> Iterator[int]:
        with self._serving_aio() if self._module.startswith("aio") else self._serving_threads() as port:
            yield port

    @contextmanager
    def _serving_threads(self) -> Iterator[int]:
        with Client(self._target, timeout_s=2.0) as client, ThreadPoolExecutor(2) as pool:
            server = grpc.server(pool, (handlers(self._module),), (self._guard(client.tenant("acme")),))
            port = server.add_secure_port("127.0.0.1:0", self._credentials)
            server.start()
            yield port
            server.stop(None).wait()

    @contextmanager
    def _serving_aio(self) -> Iterator[int]:
        with ThreadPoolExecutor(1) as thread, asyncio.Runner() as runner:
            loop = runner.get_loop()
            running = thread.submit(loop.run_forever)
            try:

                async def start() -> tuple[Any, Any, int]:
                    client = AsyncClient(self._target, timeout_s=2.0)
                    server = grpc.aio.server(None, (handlers(self._module),), (self._guard(client.tenant("acme")),))
                    port = server.add_secure_port("127.0.0.1:0", self._credentials)
                    await server.start()
                    return client, server, port

                client, server, port = asyncio.run_coroutine_threadsafe(start(), loop).result(DEADLINE_S)
                yield port
                asyncio.run_coroutine_threadsafe(server.stop(None), loop).result(DEADLINE_S)
                asyncio.run_coroutine_threadsafe(client.close(), loop).result(DEADLINE_S)
            finally:
                loop.call_soon_threadsafe(loop.stop)
                running.result(DEADLINE_S)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), trustme.CA())


@pytest.fixture(params=["sync_interceptor", "aio_interceptor"])
def grpc_call(request: pytest.FixtureRequest, load: Load, authority: Authority) -> Iterator[Callable[[str, str], Call]]:
    """A caller of the service, with a certificate of a name."""
    cert, key = authority.signed("service", "127.0.0.1")
    ca = authority.certificate.read_bytes()
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), cert.read_bytes())], ca, require_client_auth=True)
    with ExitStack() as stack:

        def caller(name: str, target: str) -> Call:
            port = stack.enter_context(GrpcService(load, request.param, target, credentials).serving())
            own, private = authority.signed(name, name)
            tls = grpc.ssl_channel_credentials(ca, private.read_bytes(), own.read_bytes())
            channel = stack.enter_context(grpc.secure_channel(f"127.0.0.1:{port}", tls))

            def call(namespace: str, method: str = "Get") -> Any:
                kinds = {"Watch": channel.unary_stream, "Upload": channel.stream_unary}
                rpc = kinds.get(method, channel.unary_unary)(
                    f"/acme.Flows/{method}", StringValue.SerializeToString, StringValue.FromString
                )
                sent = StringValue(value=namespace)
                found = rpc(iter([sent]) if method == "Upload" else sent, timeout=DEADLINE_S)
                return [each.value for each in found] if method == "Watch" else found.value

            return call

        yield caller


def refused(call: Call, *arguments: str) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments)
    return caught.value.code(), caught.value.details()  # type: ignore[attr-defined]


def test_grpc_serves_an_allowed_call(grpc_call: Callable[[str, str], Call], server: Server) -> None:
    call = grpc_call("billing.acme.example", server.target)

    assert "flows of acme.finance" == call("acme.finance")
    assert ["flows of acme.finance"] * 2 == call("acme.finance", "Watch")


def test_grpc_refuses_a_denied_and_a_malformed_call(grpc_call: Callable[[str, str], Call], server: Server) -> None:
    call = grpc_call("billing.acme.example", server.target)

    for method in ("Get", "Watch"):
        assert (grpc.StatusCode.PERMISSION_DENIED, "OUT_OF_SCOPE") == refused(call, "acme.people", method)
        assert (grpc.StatusCode.INVALID_ARGUMENT, "malformed: question.namespace") == refused(call, "ACME", method)


def test_grpc_refuses_a_method_that_no_question_names(grpc_call: Callable[[str, str], Call], server: Server) -> None:
    call = grpc_call("billing.acme.example", server.target)

    assert (grpc.StatusCode.PERMISSION_DENIED, "the method is not open") == refused(call, "acme.finance", "Put")
    assert grpc.StatusCode.UNKNOWN is refused(call, "acme.finance", "Upload")[0]


def test_grpc_refuses_a_certificate_of_an_unknown_name(grpc_call: Callable[[str, str], Call], server: Server) -> None:
    call = grpc_call("shop.acme.example", server.target)

    assert (grpc.StatusCode.UNAUTHENTICATED, "no known certificate") == refused(call, "acme.finance")


def test_grpc_is_unavailable_without_an_answer(grpc_call: Callable[[str, str], Call]) -> None:
    call = grpc_call("billing.acme.example", f"127.0.0.1:{free_port()}")

    assert (grpc.StatusCode.UNAVAILABLE, "no decision: try again") == refused(call, "acme.finance")
