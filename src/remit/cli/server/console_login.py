"""The options of the console that say who is let in, and what follows from them."""

import asyncio
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple
from urllib.parse import urlsplit

import typer

from remit.cli.common.option_group import Command, option, option_group
from remit.cli.common.output import Exit, err, fail
from remit.cli.common.parsers import secret_in
from remit.cli.common.server_options import Connection
from remit.client import AsyncClient
from remit.console.guard import LOOPBACK_HOSTS, needs_login
from remit.console.login.entrance import Entrance
from remit.console.login.invitation import Invitation
from remit.console.login.provider import Provider, ProviderAwayError, ProviderSettings, WrongProviderError
from remit.console.login.provider_login import ProviderLogin
from remit.console.person import principal_of_person, token_of_person
from remit.console.serve import BrowserTls

_PANEL: Final = "Login"
_SCOPES: Final = "openid profile"


class Admitted(NamedTuple):
    """Who is let in, and by which way."""

    entrance: Entrance | None
    hosts: frozenset[str]
    url: str
    """Where browsers find the console; empty if that is where it listens."""
    tls: BrowserTls | None

    @property
    def secure(self) -> bool:
        return self.tls is not None or bool(self.url)

    def client(self, connection: Connection, target: str) -> Callable[[], AsyncClient]:
        """Makes the client. Where people log in, it asks nothing without the token of one of them."""
        if not isinstance(self.entrance, ProviderLogin):
            client = connection.of(AsyncClient, target)
        elif self.entrance.names_people:
            if connection.token_file is None and connection.tls_cert is None:
                fail(
                    Exit.USAGE, "--act-for: the console shows a credential of its own: name --tls-cert or --token-file"
                )
            client = connection.of(AsyncClient, target, act_for=principal_of_person)
        elif connection.token_file is not None:
            fail(Exit.USAGE, "--token-file: each call carries the token of whoever is logged in: leave it out")
        elif connection.tls_server_ca is None:
            fail(Exit.USAGE, "--tls-server-ca: the tokens of people go to the server over TLS only: name this file")
        else:
            client = connection.of(AsyncClient, target, token_of_person)
        return lambda: client


class LoginOptions(NamedTuple):
    public_url: str | None
    https_cert: Path | None
    https_key: Path | None
    oidc_issuer: str | None
    oidc_client_id: str | None
    oidc_client_secret_file: Path | None
    oidc_scopes: str
    oidc_audience: str | None
    oidc_ca: Path | None
    act_for: str | None
    once: bool

    def admitted(self, host: str) -> Admitted:
        """Ends the command if the options do not fit each other, or `host`, where the console listens."""
        missing = self._missing(host)
        if needs_login(host) and missing:
            fail(
                Exit.USAGE,
                f"--listen: `{host}` can be reached from other machines, where people log in and TLS is needed. "
                f"Missing: {', '.join(missing)}",
            )
        if (self.https_cert is None) != (self.https_key is None):
            fail(Exit.USAGE, "--https-cert and --https-key: name both or none")
        tls = self._tls()
        if self._asks_for_login:
            if missing:
                fail(Exit.USAGE, f"login needs {', '.join(missing)} too")
            if self.once:
                fail(Exit.USAGE, "--once: people log in by --oidc-issuer: leave one of both out")
            return self._by_provider(tls)
        if self.public_url is not None:
            fail(Exit.USAGE, "--public-url: it counts where people log in: name --oidc-issuer and --oidc-client-id too")
        return Admitted(Invitation() if self.once else None, LOOPBACK_HOSTS, "", tls)

    @property
    def _asks_for_login(self) -> bool:
        named = (
            self.oidc_issuer,
            self.oidc_client_id,
            self.oidc_client_secret_file,
            self.oidc_audience,
            self.oidc_ca,
            self.act_for,
        )
        return any(each is not None for each in named)

    def _missing(self, host: str) -> list[str]:
        needed: dict[str, object] = {
            "--public-url": self.public_url,
            "--oidc-issuer": self.oidc_issuer,
            "--oidc-client-id": self.oidc_client_id,
        }
        if needs_login(host):
            needed |= {"--https-cert": self.https_cert, "--https-key": self.https_key}
        return [name for name, value in needed.items() if not value]

    def _tls(self) -> BrowserTls | None:
        if self.https_cert is None or self.https_key is None:
            return None
        try:
            return BrowserTls(self.https_cert, self.https_key)
        except OSError as error:
            named = f"`{error.filename}` cannot be read: {error.strerror}" if error.filename else str(error)
            fail(Exit.USAGE, f"--https-cert, --https-key: {named}")

    def _by_provider(self, tls: BrowserTls | None) -> Admitted:
        public_url = _https("--public-url", self.public_url or "").rstrip("/") + "/"
        secret_file = self.oidc_client_secret_file
        if "openid" not in self.oidc_scopes.split():
            fail(Exit.USAGE, f"--oidc-scopes: `{self.oidc_scopes}`: expected `openid` among them")
        settings = ProviderSettings(
            _https("--oidc-issuer", self.oidc_issuer or ""),
            self.oidc_client_id or "",
            public_url,
            secret_in(secret_file, "--oidc-client-secret-file") if secret_file is not None else None,
            self.oidc_scopes,
            self.oidc_audience or "",
            self.oidc_ca,
            self.act_for or "",
        )
        try:
            provider = Provider(settings)
        except OSError as error:
            fail(Exit.USAGE, f"--oidc-ca: `{self.oidc_ca}`: {error.strerror or error}")
        try:
            asyncio.run(provider.discover())
        except WrongProviderError as error:
            fail(Exit.USAGE, f"--oidc-issuer: {error}")
        except ProviderAwayError as error:
            # It may come back: only those who are not logged in yet miss it.
            err.print(f"warning: nobody can log in now, each login tries again: {error}")
        host = urlsplit(public_url).hostname or ""
        return Admitted(ProviderLogin(provider), frozenset({f"[{host}]" if ":" in host else host}), public_url, tls)


def _https(name: str, url: str) -> str:
    try:
        parts = urlsplit(url)
        fits = parts.scheme == "https" and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        fits = False
    if not fits or parts.query or parts.fragment or parts.username is not None or not url.isprintable() or " " in url:
        fail(Exit.USAGE, f"{name}: `{url}`: expected a URL such as https://remit.acme.example")
    return url


def _option(name: str, metavar: str, text: str) -> Any:
    variable = f"REMIT_CONSOLE_{name.upper().replace('-', '_')}"
    return typer.Option(f"--{name}", envvar=variable, metavar=metavar, help=text, rich_help_panel=_PANEL)


def _options() -> tuple[inspect.Parameter, ...]:
    file = Path | None
    text = str | None
    return (
        option(
            "public_url",
            Annotated[text, _option("public-url", "URL", "Where people find the console, with `https://`.")],
        ),
        option("https_cert", Annotated[file, _option("https-cert", "FILE", "PEM: the certificate that browsers see.")]),
        option("https_key", Annotated[file, _option("https-key", "FILE", "PEM: its private key.")]),
        option(
            "oidc_issuer", Annotated[text, _option("oidc-issuer", "URL", "The OpenID provider by which people log in.")]
        ),
        option(
            "oidc_client_id", Annotated[text, _option("oidc-client-id", "ID", "The console's name at the provider.")]
        ),
        option(
            "oidc_client_secret_file",
            Annotated[file, _option("oidc-client-secret-file", "FILE", "Its secret. A public client has none.")],
        ),
        option(
            "oidc_scopes", Annotated[str, _option("oidc-scopes", "SCOPES", "What to ask the provider for.")], _SCOPES
        ),
        option(
            "oidc_audience",
            Annotated[
                text, _option("oidc-audience", "NAME", "Whom the access token is for, if the provider asks for it.")
            ],
        ),
        option("oidc_ca", Annotated[file, _option("oidc-ca", "FILE", "PEM: who signed the provider's certificate.")]),
        option(
            "act_for",
            Annotated[
                text,
                _option(
                    "act-for",
                    "CLAIM",
                    "Name people to the server as `user:CLAIM`, by this claim of the id_token, where it takes no tokens.",
                ),
            ],
        ),
        option(
            "once",
            Annotated[
                bool,
                typer.Option(
                    "--once",
                    help="On loopback: print a URL that opens the console once, and let no other browser in.",
                    rich_help_panel=_PANEL,
                ),
            ],
            False,
        ),
    )


def with_login(command: Command) -> Command:
    """Adds those options to a command that takes LoginOptions as `login`."""
    return option_group("login", LoginOptions, _options())(command)
