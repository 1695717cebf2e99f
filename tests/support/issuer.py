"""A fake OpenID provider: it signs tokens, and serves its keys by https in good and bad ways."""

import json
import ssl
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any, Literal, Self

import trustme
from joserfc import jws
from joserfc.jwk import ECKey, Key

from remit.service.identities.issuer import Issuer
from remit.service.identities.key_set import ALGORITHMS
from remit.service.identities.keys import IssuerKeys

Behaviour = Literal["good", "drips", "drips headers", "silent", "huge", "redirect", "html", "empty", "error", "down"]
HUGE_BYTES = 10 * 1024 * 1024


def issuer_key(kid: str) -> ECKey:
    return ECKey.generate_key("P-256", {"kid": kid})


def sign(claims: Mapping[str, Any] | bytes, key: Key, header: Mapping[str, Any] | None = None) -> str:
    """A token of these claims. The header has ES256 and the key's own `kid` where it does not say otherwise."""
    members = {"alg": "ES256", "kid": key.kid, **(header or {})}
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    registry = jws.JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
    return jws.serialize_compact(members, payload, key, algorithms=ALGORITHMS, registry=registry)


def jwks(*keys: Key) -> bytes:
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()


class StillKeys(IssuerKeys):
    """Keys without a thread: a test calls `refresh` itself."""

    woken = 0

    def begin(self) -> None:
        pass

    def wake(self) -> None:
        self.woken += 1
        super().wake()


class FakeIssuer:
    """Serves at a port of 127.0.0.1 of its own. `keys` and `behaviour` may change at any time."""

    def __init__(self, ca: trustme.CA, folder: Path, name: str = "kc") -> None:
        self.name = name
        self.keys: list[Key] = [issuer_key("first")]
        self.behaviour: Behaviour = "good"
        self.fetches = 0
        self.ca = folder / f"{name}-ca.pem"
        ca.cert_pem.write_to_path(self.ca)
        self._ended = Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("_Handler", (_Handler,), {"provider": self}))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("127.0.0.1").configure_cert(context)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"

    def described(self, **more: Any) -> Issuer:
        """As the file `identities` would describe it."""
        fields: dict[str, Any] = {
            "name": self.name,
            "issuer": self.url,
            "audience": "remit",
            "algorithms": frozenset({"ES256"}),
            "jwks_url": f"{self.url}/jwks",
            "ca": self.ca,
        }
        return Issuer(**fields | more)

    def claims(self, sub: str = "batch", now_s: float | None = None, **more: Any) -> dict[str, Any]:
        issued_s = int(time.time() if now_s is None else now_s)
        return {"iss": self.url, "sub": sub, "aud": "remit", "iat": issued_s, "exp": issued_s + 300, **more}

    def token(self, sub: str = "batch", **claims: Any) -> str:
        """A token signed with the newest key."""
        return sign(self.claims(sub, **claims), self.keys[-1])

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, args=(0.01,), name="fake-issuer", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.fetches += 1
        match self.behaviour:
            case "drips" | "drips headers":
                handler.wfile.write(b"HTTP/1.0 200 OK\r\nx:" + b"\r\n\r\n" * (self.behaviour == "drips"))
                while not self._ended.wait(0.01):
                    handler.wfile.write(b" ")
            case "silent":
                self._ended.wait()
            case "down":
                handler.close_connection = True
            case "redirect":
                # Good keys wait there, so that a follower would be found out.
                send(handler, 302, b"", {"location": f"{self.url}/moved"})
            case answered:
                send(handler, 503 if answered == "error" else 200, self._body(answered))

    def _body(self, behaviour: Behaviour) -> bytes:
        bad = {"huge": b" " * HUGE_BYTES, "html": b"<!doctype html><title>Sign in</title>", "empty": jwks()}
        return bad.get(behaviour) or jwks(*self.keys)


class _Handler(BaseHTTPRequestHandler):
    provider: FakeIssuer

    def do_GET(self) -> None:
        if self.path == "/moved":
            send(self, 200, jwks(*self.provider.keys))
            return
        try:
            self.provider.answer(self)
        except OSError:  # whoever asked has had enough
            self.close_connection = True

    do_POST = do_GET  # noqa: N815 (a name of http.server)

    def log_message(self, *_: object) -> None:
        pass


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, more: Mapping[str, str] | None = None) -> None:
    handler.send_response(status)
    for name, value in {"content-length": str(len(body)), **(more or {})}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)
