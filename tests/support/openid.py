"""An OpenID provider for browsers: authorization code with PKCE, refresh, logout; and answers that do not count."""

import hashlib
import json
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import trustme
from support.issuer import FakeIssuer, issuer_key, send, sign

CLIENT = "remit-console"


class OpenIdProvider(FakeIssuer):
    """Lets in `person` without asking. What is set here counts for the next login."""

    def __init__(self, ca: trustme.CA, folder: Path, redirect_uri: str, secret: str = "") -> None:
        super().__init__(ca, folder)
        self.redirect_uri = redirect_uri
        self.secret = secret
        self.person = "ann"
        self.proved_s_ago = 0.0
        self.lifetime_s = 300
        self.refreshes = True
        self.id_token: dict[str, Any] = {}
        """Claims of the id_token that are changed; None leaves a claim out."""
        self.access_token: dict[str, Any] = {}
        self.signed: Literal["well", "not", "by another key"] = "well"
        self.answers_as: str | None = self.url
        self.metadata: dict[str, Any] = {}
        self.asked: list[dict[str, str]] = []
        """What browsers asked for."""
        self.logged_out: list[dict[str, str]] = []
        self.token_status = 200
        self._codes: dict[str, dict[str, Any]] = {}
        self._refresh: dict[str, str] = {}

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        query = dict(parse_qsl(parts.query))
        match parts.path:
            case "/.well-known/openid-configuration":
                if self.behaviour == "good":
                    send(handler, 200, json.dumps(self._described()).encode())
                else:
                    super().answer(handler)
            case "/authorize":
                self._authorize(handler, query)
            case "/token":
                length = int(handler.headers["content-length"])
                self._token(
                    handler, {name: each[0] for name, each in parse_qs(handler.rfile.read(length).decode()).items()}
                )
            case "/end":
                self.logged_out.append(query)
                send(handler, 302, b"", {"location": query["post_logout_redirect_uri"]})
            case "/jwks":
                super().answer(handler)
            case _:
                send(handler, 404, b"")

    def _described(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "end_session_endpoint": f"{self.url}/end",
            "code_challenge_methods_supported": ["S256"],
            "id_token_signing_alg_values_supported": ["ES256", "none", "HS256"],
            "authorization_response_iss_parameter_supported": True,
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "none"],
            **self.metadata,
        }

    def _authorize(self, handler: BaseHTTPRequestHandler, asked: dict[str, str]) -> None:
        assert (asked["client_id"], asked["response_type"]) == (CLIENT, "code")
        assert (asked["redirect_uri"], asked["code_challenge_method"]) == (self.redirect_uri, "S256")
        self.asked.append(asked)
        code = secrets.token_urlsafe(16)
        self._codes[code] = {**asked, "sub": self.person, "auth_time": int(time.time() - self.proved_s_ago)}
        answer = {"code": code, "state": asked["state"], **({"iss": self.answers_as} if self.answers_as else {})}
        send(handler, 302, b"", {"location": f"{asked['redirect_uri']}?{urlencode(answer)}"})

    def _token(self, handler: BaseHTTPRequestHandler, form: dict[str, str]) -> None:
        if self.token_status != 200:
            send(handler, self.token_status, b"{}")
            return
        answer = self._granted(form, handler.headers.get("authorization", ""))
        body = json.dumps(answer or {"error": "invalid_grant"}).encode()
        send(handler, 200 if answer else 400, body, {"content-type": "application/json"})

    def _granted(self, form: dict[str, str], credential: str) -> dict[str, Any] | None:
        if not (credential.startswith("Basic ") if self.secret else form.get("client_id") == CLIENT):
            return None
        if form["grant_type"] == "refresh_token":
            sub = self._refresh.pop(form["refresh_token"], None)
            return self._answer(sub, None) if sub is not None else None
        begun = self._codes.pop(form["code"], None)
        challenge = urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).decode().rstrip("=")
        if begun is None or begun["code_challenge"] != challenge or begun["redirect_uri"] != form["redirect_uri"]:
            return None
        return self._answer(begun["sub"], begun)

    def _answer(self, sub: str, begun: Mapping[str, Any] | None) -> dict[str, Any]:
        access = self.claims(sub, azp=CLIENT, jti=secrets.token_hex(8), **self.access_token)
        answer = {"access_token": self._signed(access), "token_type": "Bearer", "expires_in": self.lifetime_s}
        if self.refreshes:
            answer["refresh_token"] = secrets.token_urlsafe(16)
            self._refresh[answer["refresh_token"]] = sub
        if begun is not None:
            claims = self.claims(
                sub, preferred_username=f"{sub}@acme", nonce=begun["nonce"], auth_time=begun["auth_time"]
            )
            claims |= {"aud": CLIENT, **self.id_token}
            answer["id_token"] = self._signed(
                {name: each for name, each in claims.items() if each is not None}, self.signed
            )
        return answer

    def _signed(self, claims: Mapping[str, Any], how: str = "well") -> str:
        if how == "not":
            parts = ({"alg": "none"}, claims)
            return ".".join(urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in parts) + "."
        key = issuer_key(str(self.keys[-1].kid)) if how == "by another key" else self.keys[-1]
        return sign(claims, key)
