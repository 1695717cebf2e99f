"""A small AuthZEN server over the fixture of the certification suite, whose parts tests replace by wrong ones.

It shares nothing with remit: it is the second opinion of the runner, and of remit's own server.
"""

import asyncio
import base64
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

Scope = dict[str, Any]
USERS = ("alice", "bob")
RECORDS = {"record-1": "active", "record-2": "archived"}
ACTIONS = ("read", "write", "delete")
OK = 200
BAD = 400


class RefusedError(Exception):
    def __init__(self, status: int, text: str, **headers: str) -> None:
        super().__init__(text)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class FixturePdp:
    """Answers as the specification says. A subclass overrides one method to be wrong in one way."""

    token = ""
    password = ""
    identifier = ""

    async def __call__(self, scope: Scope, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Any]) -> None:
        if scope["type"] == "lifespan":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
        extra = {}
        try:
            extra = self.echoed(headers)
            if scope["path"].startswith("/.well-known/"):
                status, answer = OK, self.metadata(scope["path"])
            else:
                self.authenticate(headers)
                status, answer = OK, self.route(scope["method"], scope["path"], headers, body)
        except RefusedError as error:
            status, answer, extra = error.status, {"error": str(error)}, {**extra, **error.headers}
        content = json.dumps(answer).encode()
        sent = [(b"content-type", self.content_type().encode()), *((k.encode(), v.encode()) for k, v in extra.items())]
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": content})

    def content_type(self) -> str:
        return "application/json"

    def echoed(self, headers: dict[str, str]) -> dict[str, str]:
        return {"x-request-id": headers["x-request-id"]} if "x-request-id" in headers else {}

    def authenticate(self, headers: dict[str, str]) -> None:
        wanted = f"Bearer {self.token}" if self.token else ""
        if self.password:
            wanted = f"Basic {base64.b64encode(self.password.encode()).decode()}"
        if wanted and headers.get("authorization") != wanted:
            raise RefusedError(401, "who asks?", **self.challenge())

    def challenge(self) -> dict[str, str]:
        return {"www_authenticate": 'Bearer realm="fixture"'}

    def metadata(self, path: str) -> Any:
        if path != "/.well-known/authzen-configuration":
            raise RefusedError(404, "no such identifier")
        base = self.identifier
        return {
            "policy_decision_point": base,
            "access_evaluation_endpoint": f"{base}/access/v1/evaluation",
            "access_evaluations_endpoint": f"{base}/access/v1/evaluations",
            "search_subject_endpoint": f"{base}/access/v1/search/subject",
            "search_resource_endpoint": f"{base}/access/v1/search/resource",
            "search_action_endpoint": f"{base}/access/v1/search/action",
        }

    def method_allowed(self, method: str) -> bool:
        return method == "POST"

    def media_type_allowed(self, content_type: str) -> bool:
        return content_type.partition(";")[0] == "application/json"

    def parse(self, body: bytes) -> Any:
        try:
            request = json.loads(body)
        except ValueError:
            raise RefusedError(BAD, "no JSON") from None
        if not isinstance(request, dict):
            raise RefusedError(BAD, "no object")
        return request

    def route(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
        apis = {
            "/access/v1/evaluation": self.evaluation,
            "/access/v1/evaluations": self.evaluations,
            "/access/v1/search/subject": self.subjects,
            "/access/v1/search/resource": self.resources,
            "/access/v1/search/action": self.actions,
        }
        if path not in apis:
            raise RefusedError(404, "no such path")
        if not self.method_allowed(method):
            raise RefusedError(405, "POST only", allow="POST")
        if not self.media_type_allowed(headers.get("content-type", "")):
            raise RefusedError(BAD, "no JSON")
        return apis[path](self.parse(body))

    def entity(self, request: Any, name: str, *members: str) -> Any:
        entity = request.get(name)
        if not isinstance(entity, dict) or any(not isinstance(entity.get(each), str) for each in members):
            raise RefusedError(BAD, f"{name} lacks {' or '.join(members)}")
        return entity

    def allowed(self, subject: Any, action: Any, resource: Any) -> bool:
        """The eight rules of the fixture, and that alice may read record-2."""
        user, name, record = subject["id"], action["name"], resource["id"]
        if subject["type"] != "user" or resource["type"] != "record" or user not in USERS or record not in RECORDS:
            return False
        status = resource.get("properties", {}).get("status", RECORDS[record])
        if name == "read":
            return True
        if name == "write":
            return status == "active" if user == "alice" else status == "archived"
        return name == "delete" and user == "alice" and action.get("properties", {}).get("soft") is True

    def evaluation(self, request: Any) -> Any:
        subject, action = self.entity(request, "subject", "type", "id"), self.entity(request, "action", "name")
        return {"decision": self.allowed(subject, action, self.entity(request, "resource", "type", "id"))}

    def item(self, request: Any, item: Any) -> Any:
        return {**{name: request.get(name) for name in ("subject", "action", "resource")}, **item}

    def stops(self, semantic: str, decision: bool) -> bool:
        return decision is {"deny_on_first_deny": False, "permit_on_first_permit": True}.get(semantic)

    def evaluations(self, request: Any) -> Any:
        if not request.get("evaluations"):
            return self.evaluation(request)
        semantic = request.get("options", {}).get("evaluations_semantic", "execute_all")
        if semantic not in {"execute_all", "deny_on_first_deny", "permit_on_first_permit"}:
            raise RefusedError(BAD, "no such semantic")
        answers: list[Any] = []
        for item in request["evaluations"]:
            try:
                answers.append(self.evaluation(self.item(request, item)))
            except RefusedError as error:
                answers.append({"decision": False, "context": {"error": {"status": error.status}}})
            if self.stops(semantic, answers[-1]["decision"]):
                break
        return {"evaluations": answers}

    def listed(self, request: Any, results: list[Any]) -> Any:
        page = request.get("page") or {}
        if "limit" not in page and "token" not in page:
            return {"results": results}
        begin = int(page.get("token") or 0)
        end = min(begin + page.get("limit", len(results)), len(results))
        token = "" if end == len(results) else str(end)
        return {"page": {"next_token": token, "count": end - begin}, "results": results[begin:end]}

    def subjects(self, request: Any) -> Any:
        wanted, action = self.entity(request, "subject", "type"), self.entity(request, "action", "name")
        resource = self.entity(request, "resource", "type", "id")
        users = ({"type": wanted["type"], "id": name} for name in USERS)
        return self.listed(request, [each for each in users if self.allowed(each, action, resource)])

    def resources(self, request: Any) -> Any:
        wanted, action = self.entity(request, "resource", "type"), self.entity(request, "action", "name")
        subject = self.entity(request, "subject", "type", "id")
        records = ({"type": wanted["type"], "id": name} for name in RECORDS)
        return self.listed(request, [each for each in records if self.allowed(subject, action, each)])

    def actions(self, request: Any) -> Any:
        subject = self.entity(request, "subject", "type", "id")
        resource = self.entity(request, "resource", "type", "id")
        names = ({"name": name} for name in ACTIONS)
        return self.listed(request, [each for each in names if self.allowed(subject, each, resource)])


@contextmanager
def running(app: Any, **options: Any) -> Iterator[int]:
    """Serves an ASGI application on a free port of this machine, in a thread. Yields the port."""
    config = uvicorn.Config(app, log_config=None, lifespan="off", loop="asyncio", **options)
    server = uvicorn.Server(config)
    # Only for a socket that names its protocol does asyncio switch off the delay of small packets.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()
