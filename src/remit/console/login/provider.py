"""An OpenID provider: authorization code with PKCE, by authlib."""

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
from authlib.integrations.starlette_client import OAuth, OAuthError
from joserfc.errors import JoseError

from remit.core.names import is_principal

ALGORITHMS: Final = (
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
    "PS256",
    "PS384",
    "PS512",
    "RS256",
    "RS384",
    "RS512",
)
"""Of id_tokens. Never `none`, and none whose key is a shared secret."""
SKEW_S: Final = 30
_TIMEOUT_S: Final = 10.0
_READ_AGAIN_S: Final = 3600.0
_ENDPOINTS: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_CLIENT_ERRORS: Final = range(400, 500)
_OK: Final = 200


class ProviderError(Exception):
    """The text is for whoever runs the console."""


class ProviderAwayError(ProviderError):
    """The provider does not answer now."""


class WrongProviderError(ProviderError):
    """What the provider says of itself does not fit the settings."""


class LoginRefusedError(ProviderError):
    """The provider refuses, or its answer does not count."""


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    issuer: str
    client_id: str
    public_url: str
    """Where browsers find the console. Ends with a slash."""
    client_secret: str | None = None
    """None for a public client."""
    scopes: str = "openid profile"
    audience: str = ""
    """Whom the access token is for, where the provider wants to be told."""
    ca: Path | None = None
    act_for: str = ""
    """The claim of the id_token that names people to the server as `user:CLAIM`; '' where their access tokens do."""

    @property
    def discovery_url(self) -> str:
        return f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class LoginStart:
    """A login that has begun in one browser."""

    url: str
    """Where the browser goes."""
    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True, slots=True)
class Tokens:
    access: str
    expires_s: float | None
    """Seconds since 1970; None if the provider does not say."""
    refresh: str | None

    def lasts(self, seconds: float) -> bool:
        return self.expires_s is None or self.expires_s > time.time() + seconds


@dataclass(frozen=True, slots=True)
class Identity:
    """Who logged in, by the provider's id_token."""

    name: str
    """For people to read."""
    principal: str
    """Who the person is to the server, where the access token does not say it; else ''."""
    tokens: Tokens
    id_token: str
    proved_s: float | None
    """When the person last proved who they are, in seconds since 1970; None if the provider does not say."""


class Provider:
    def __init__(self, settings: ProviderSettings) -> None:
        """Raises OSError if the file of the authority cannot be read."""
        self.settings = settings
        self._tls = ssl.create_default_context(cafile=settings.ca)
        self._app: Any = None
        self._read_s = 0.0
        self._sends_issuer = False

    async def discover(self) -> None:
        """Reads what the provider says of itself. Raises ProviderAwayError or WrongProviderError."""
        url = self.settings.discovery_url
        try:
            async with httpx2.AsyncClient(verify=self._tls, timeout=_TIMEOUT_S) as http:
                answer = await http.get(url)
        except httpx2.HTTPError as error:
            raise ProviderAwayError(f"{url}: {_cause(error)}") from error
        if answer.status_code in _CLIENT_ERRORS:
            raise WrongProviderError(f"{url} answers {answer.status_code}: expected what the provider says of itself")
        if answer.status_code != _OK:
            raise ProviderAwayError(f"{url} answers {answer.status_code}")
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise WrongProviderError(f"{url} answers with no JSON object")
        self._use(self._checked(found))

    async def begin(self, *, recent_s: int | None = None) -> LoginStart:
        """With `recent_s` the provider asks the person again who has not proved who they are for that long."""
        app = await self._ready()
        more: dict[str, Any] = {"max_age": recent_s} if recent_s is not None else {}
        if audience := self.settings.audience:
            more["audience"] = audience
            if urlsplit(audience).scheme:
                more["resource"] = audience
        begun = await app.create_authorization_url(self.redirect_uri, **more)
        return LoginStart(begun["url"], begun["state"], begun["nonce"], begun["code_verifier"])

    async def finish(self, start: LoginStart, code: str, issuer: str | None) -> Identity:
        """`issuer` is what the answer says of itself (RFC 9207). Raises ProviderError."""
        app = await self._ready()
        if issuer != self.settings.issuer and (issuer is not None or self._sends_issuer):
            raise LoginRefusedError(f"the answer is of `{issuer or ''}`, not of `{self.settings.issuer}`")
        answer = await self._tokens(
            app,
            grant_type="authorization_code",
            code=code,
            code_verifier=start.verifier,
            redirect_uri=self.redirect_uri,
        )
        claims = {
            "iss": {"essential": True, "value": self.settings.issuer},
            "aud": {"essential": True, "value": self.settings.client_id},
        }
        try:
            who = await app.parse_id_token(answer, nonce=start.nonce, claims_options=claims, leeway=SKEW_S)
        except httpx2.HTTPError as error:
            raise ProviderAwayError(f"the keys of the provider cannot be read: {error}") from error
        except (JoseError, OAuthError, ValueError, TypeError, KeyError) as error:
            raise LoginRefusedError(f"the id_token does not count: {error}") from error
        if who is None or not isinstance(who.get("sub"), str) or not who["sub"]:
            raise LoginRefusedError("the provider sends no id_token, or one of nobody: is `openid` among the scopes?")
        names = (who.get(each) for each in ("preferred_username", "name", "email", "sub"))
        name = next(each for each in names if isinstance(each, str) and each)
        proved = who.get("auth_time")
        return Identity(
            name,
            self._principal_in(who),
            _tokens_of(answer),
            answer["id_token"],
            float(proved) if isinstance(proved, int | float) else None,
        )

    def _principal_in(self, claims: Mapping[str, Any]) -> str:
        """Raises LoginRefusedError if the claim cannot name anybody."""
        name = self.settings.act_for
        if not name:
            return ""
        principal = f"user:{claims.get(name)}"
        if not isinstance(claims.get(name), str) or not is_principal(principal):
            raise LoginRefusedError(f"the id_token has no claim `{name}` that can be the ID of a principal")
        return principal

    async def refresh(self, tokens: Tokens) -> Tokens:
        """Raises ProviderError."""
        app = await self._ready()
        answer = await self._tokens(app, grant_type="refresh_token", refresh_token=tokens.refresh)
        return _tokens_of(answer, tokens.refresh)

    async def logout_url(self, id_token: str) -> str | None:
        """Where the person ends the session at the provider; None if the provider has no such address."""
        if self._app is None or "end_session_endpoint" not in self._app.server_metadata:
            return None
        made = await self._app.create_logout_url(
            post_logout_redirect_uri=f"{self.settings.public_url}logged-out",
            id_token_hint=id_token,
            client_id=self.settings.client_id,
        )
        return str(made["url"])

    @property
    def redirect_uri(self) -> str:
        return f"{self.settings.public_url}login/callback"

    @property
    def origins(self) -> list[str]:
        """Of all pages of the provider that a form of the console may lead to."""
        metadata = self._app.server_metadata if self._app is not None else {}
        pages = (metadata.get(each) for each in ("authorization_endpoint", "end_session_endpoint"))
        urls = [urlsplit(each) for each in (self.settings.issuer, *pages) if each]
        return sorted({f"{each.scheme}://{each.netloc}" for each in urls})

    async def _ready(self) -> Any:
        """Reads again now and then, so that keys that the provider withdrew count no longer."""
        if self._app is None or time.monotonic() - self._read_s > _READ_AGAIN_S:
            try:
                await self.discover()
            except ProviderError:
                if self._app is None:
                    raise
        return self._app

    def _use(self, metadata: dict[str, Any]) -> None:
        public = self.settings.client_secret is None
        methods = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        secret_by = "client_secret_basic" if "client_secret_basic" in methods else "client_secret_post"
        self._sends_issuer = metadata.get("authorization_response_iss_parameter_supported") is True
        self._app = OAuth().register(
            "provider",
            client_id=self.settings.client_id,
            client_secret=self.settings.client_secret,
            client_kwargs={
                "scope": self.settings.scopes,
                "code_challenge_method": "S256",
                "token_endpoint_auth_method": "none" if public else secret_by,
                "verify": self._tls,
                "timeout": _TIMEOUT_S,
            },
            **metadata,
        )
        self._read_s = time.monotonic()

    def _checked(self, found: Mapping[str, Any]) -> dict[str, Any]:
        url = self.settings.discovery_url
        if found.get("issuer") != self.settings.issuer:
            raise WrongProviderError(f"{url}: its issuer is `{found.get('issuer')}`: expected `{self.settings.issuer}`")
        for name in _ENDPOINTS:
            if not _is_https(found.get(name)):
                raise WrongProviderError(f"{url}: `{name}` is `{found.get(name)}`: expected an https URL")
        if not _has(found.get("code_challenge_methods_supported", ["S256"]), "S256"):
            raise WrongProviderError(f"{url}: the provider does not support PKCE by S256")
        listed = found.get("id_token_signing_alg_values_supported", ["RS256"])
        algorithms = [each for each in ALGORITHMS if _has(listed, each)]
        if not algorithms:
            raise WrongProviderError(f"{url}: the provider signs id_tokens by none of {', '.join(ALGORITHMS)}")
        taken = (
            "issuer",
            *_ENDPOINTS,
            "token_endpoint_auth_methods_supported",
            "authorization_response_iss_parameter_supported",
        )
        checked = {name: found[name] for name in taken if name in found}
        if _is_https(found.get("end_session_endpoint")):
            checked["end_session_endpoint"] = found["end_session_endpoint"]
        return {**checked, "id_token_signing_alg_values_supported": algorithms}

    @staticmethod
    async def _tokens(app: Any, **asked: Any) -> dict[str, Any]:
        try:
            answer = await app.fetch_access_token(**asked)
        except OAuthError as error:
            raise LoginRefusedError(f"the provider refuses: {error}") from error
        except httpx2.HTTPError as error:
            raise ProviderAwayError(f"the provider does not answer: {_cause(error)}") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise LoginRefusedError(f"the answer of the provider cannot be read: {error}") from error
        if not isinstance(answer, dict) or not isinstance(answer.get("access_token"), str):
            raise LoginRefusedError("the provider sends no access token")
        return answer


def _tokens_of(answer: Mapping[str, Any], refresh: str | None = None) -> Tokens:
    expires = answer.get("expires_at")
    return Tokens(
        answer["access_token"],
        float(expires) if isinstance(expires, int | float) else None,
        answer.get("refresh_token") or refresh,
    )


def _cause(error: httpx2.HTTPError) -> str:
    return str(error) or type(error).__name__


def _is_https(url: object) -> bool:
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" and bool(parts.netloc)


def _has(listed: object, wanted: str) -> bool:
    return isinstance(listed, list) and wanted in listed
