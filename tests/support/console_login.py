"""A server with callers of an OpenID provider, for consoles at which people log in."""

import json
import shutil
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trustme
from support.certificates import Authority
from support.openid import CLIENT, OpenIdProvider
from support.server import POLICIES, Server, free_port

from remit.client import MutualTls

HOST = "console.acme.example"
CONSOLE = "service:dns/console.acme.example"
BINDINGS = f"""
g, user:ann,  role:reader,  _callers/acme
g, user:ann,  role:auditor, _callers/acme
g, user:gil,  role:reader,  _callers/globex
g, user:olga, role:operator, _callers/acme
g, {CONSOLE}, role:reader,   _callers
g, {CONSOLE}, role:auditor,  _callers
g, {CONSOLE}, role:operator, _callers
"""


@dataclass
class World:
    """A server, its provider, and the files of the console."""

    server: Server
    provider: OpenIdProvider
    authority: Authority
    bindings: Path
    caller: tuple[Path, Path]
    trusted: ssl.SSLContext = field(init=False)

    def __post_init__(self) -> None:
        self.trusted = ssl.create_default_context(cafile=self.provider.ca)

    @property
    def tls(self) -> MutualTls:
        return MutualTls(self.authority.certificate, *self.caller)

    def console_flags(self, host: str) -> tuple[str, list[str]]:
        """The public URL of a console that listens at `host`, and the options that it starts with."""
        port = free_port()
        url = f"https://127.0.0.1:{port}/"
        cert, key = self.authority.signed("browsers", "127.0.0.1")
        self.provider.redirect_uri = f"{url}login/callback"
        flags = ["--listen", f"{host}:{port}", "--public-url", url, "--https-cert", str(cert), "--https-key", str(key)]
        flags += ["--oidc-issuer", self.provider.url, "--oidc-client-id", CLIENT, "--oidc-ca", str(self.provider.ca)]
        flags += ["--tls-server-ca", str(self.authority.certificate)]
        return url, [*flags, "--tls-cert", str(self.caller[0]), "--tls-key", str(self.caller[1])]


@contextmanager
def world_of_people(folder: Path, redirect_uri: str) -> Iterator[World]:
    policies = Path(shutil.copytree(POLICIES, folder / "policies", ignore=shutil.ignore_patterns("tests")))
    bindings = policies / "_callers" / "bindings.csv"
    bindings.write_text(BINDINGS)
    authority = Authority(folder, trustme.CA())
    with OpenIdProvider(authority.ca, folder, redirect_uri) as provider:
        about = {"issuer": provider.url, "audience": "remit", "algorithms": ["ES256"]}
        about |= {"jwks": f"{provider.url}/jwks", "ca": str(provider.ca)}
        people = {"as": "user:{sub}", "jwt": {"issuer": "kc", "azp": CLIENT}}
        identities = folder / "identities.yaml"
        identities.write_text(json.dumps({"issuers": {"kc": about}, "callers": [people]}))
        flags = (*authority.server_flags(*authority.signed("server", "127.0.0.1")), "--identities", str(identities))
        flags += ("--revisions", str(folder / "revisions"))
        caller = authority.signed("console", HOST)
        with Server(folder / "server", *flags, policies=policies) as server:
            yield World(server, provider, authority, bindings, caller)
