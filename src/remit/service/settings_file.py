"""The TOML file of settings, which the server and the other commands read."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from remit.core.errors import RemitError

CONFIG_VARIABLE: Final = "REMIT_CONFIG"
ENV_PREFIX: Final = "REMIT_"
_CONSOLE_FILES: Final = frozenset(
    f"console_{name}" for name in ("graphs", "https_cert", "https_key", "oidc_client_secret_file", "oidc_ca")
)
_CONSOLE_SETTINGS: Final = _CONSOLE_FILES | frozenset(
    f"console_{name}"
    for name in ("listen", "public_url", "oidc_issuer", "oidc_client_id", "oidc_scopes", "oidc_audience", "act_for")
)
CLIENT_SETTINGS: Final = _CONSOLE_SETTINGS | {"target", "tls_server_ca", "token_file"}
"""Settings of the commands that ask a server. They may stand in the file and in the environment of a server."""
PATH_SETTINGS: Final = frozenset(
    {
        *("policies", "revisions", "shadow", "identities", "tls_cert", "tls_key", "tls_client_ca", "tls_server_ca"),
        *(
            "token_file",
            *_CONSOLE_FILES,
            "audit_spool",
            "audit_key",
            "audit_redact_key",
            "authzen_page_key",
            "binding_key",
            "releases",
        ),
    }
)
_PATHS_SETTINGS: Final = frozenset({"policy_keys", "binding_keys"})
_URL_SETTINGS: Final = frozenset({"audit", "policy_store"})
_SQLITE: Final = "sqlite:///"


class SettingsFileError(RemitError):
    """The file cannot be read, or is not TOML. The message names it."""


def read_settings_file(file: Path) -> Mapping[str, Any]:
    """The settings in the file, not yet checked. A relative path in it, or in a URL of SQLite, is relative to the file's
    folder. Raises SettingsFileError."""
    try:
        with file.open("rb") as stream:
            settings = tomllib.load(stream)
    except OSError as error:
        raise SettingsFileError(f"the settings file `{file}` cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise SettingsFileError(f"the settings file `{file}` is not TOML: {error}") from None
    return {name: _placed(name, value, file.parent) for name, value in settings.items()}


def _placed(name: str, value: Any, folder: Path) -> Any:
    if not isinstance(value, str) or not value:
        return value
    if name in PATH_SETTINGS:
        return str(folder / value)
    if name in _PATHS_SETTINGS:
        return ",".join(str(folder / each.strip()) for each in value.split(",") if each.strip())
    if name in _URL_SETTINGS and value.startswith(_SQLITE):
        return f"{_SQLITE}{folder / value.removeprefix(_SQLITE)}"
    return value
