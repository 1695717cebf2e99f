import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from remit.policy.read.report import did_you_mean
from remit.service.errors import StartupError
from remit.service.settings import Settings
from remit.service.settings_file import (
    CLIENT_SETTINGS,
    CONFIG_VARIABLE,
    ENV_PREFIX,
    SettingsFileError,
    read_settings_file,
)

CLIENT_VARIABLES: Final = frozenset(f"{ENV_PREFIX}{name}".upper() for name in CLIENT_SETTINGS)

_SERVICE_HOST: Final = "_SERVICE_HOST"
# The part of `VARIABLE=VALUE` after the Service's name. The value of `PORT` is a URL, never a number.
_SERVICE_LINK: Final = (
    r"(?:SERVICE_HOST=.*|SERVICE_PORT(?:_[A-Z0-9_]+)?=[0-9]+|PORT=[a-z]+://.*|"
    r"PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_PROTO|_PORT|_ADDR)?=.*)"
)


def read_settings(flags: Mapping[str, Any], file: Path | None = None) -> Settings:
    """Reads the settings from flags, from the environment and from the file. Without `file`, REMIT_CONFIG names it.

    Raises StartupError, which names each unknown or wrong setting and what was expected.
    """
    known = {f"{ENV_PREFIX}{name}".upper() for name in Settings.model_fields} | {CONFIG_VARIABLE}
    known |= CLIENT_VARIABLES
    ours = {name for name in os.environ if name.upper().startswith(ENV_PREFIX) and name.upper() not in known}
    if unknown := sorted(ours - _service_links(os.environ)):
        raise StartupError("\n".join(_unknown(name, known, " in the environment") for name in unknown))
    if file is None and (named := os.environ.get(CONFIG_VARIABLE)):
        file = Path(named)
    # The environment takes precedence over the file, and flags over both: what is given here counts as a flag.
    given = {name.upper() for name in os.environ}
    try:
        of_file = {} if file is None else read_settings_file(file)
        left = {
            name: value
            for name, value in of_file.items()
            if name not in CLIENT_SETTINGS and f"{ENV_PREFIX}{name}".upper() not in given
        }
        return Settings(**{**left, **flags})
    except SettingsFileError as error:
        raise StartupError(str(error)) from None
    except ValidationError as error:
        raise StartupError("\n".join(map(_problem, error.errors()))) from None


def _service_links(environment: Mapping[str, str]) -> set[str]:
    """Finds the variables that Kubernetes sets in each pod for Services named `remit` or `remit-...`.

    They are not settings. Kubernetes always sets host and port of a Service: this function requires both, and so takes
    no misspelt setting for such a variable.
    """
    found: set[str] = set()
    for service in {name.removesuffix(_SERVICE_HOST) for name in environment if name.endswith(_SERVICE_HOST)}:
        if f"{service}_SERVICE_PORT" in environment:
            links = re.compile(rf"{re.escape(service)}_{_SERVICE_LINK}").fullmatch
            found |= {name for name, value in environment.items() if links(f"{name}={value}")}
    return found


def _problem(error: Any) -> str:
    place = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return _unknown(place, Settings.model_fields)
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"setting `{place}` is `{error['input']}`: {message}" if place else message


def _unknown(name: str, known: Iterable[str], where: str = "") -> str:
    return f"unknown setting `{name}`{where}: docs/reference/settings.md lists all{did_you_mean(name, known)}"
