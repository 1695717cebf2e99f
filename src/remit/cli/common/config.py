"""The settings file of a command: `--config`, or REMIT_CONFIG.

A setting in it counts as the option whose variable has its name: `audit` as the option with the variable REMIT_AUDIT.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from remit.cli.common.help import command_from
from remit.cli.common.option_group import where_option
from remit.cli.common.output import Exit, fail
from remit.core.hints import did_you_mean
from remit.core.names import quote
from remit.service.settings_file import CONFIG_VARIABLE, ENV_PREFIX, SettingsFileError, read_settings_file

CONFIG: Final = "config"
ConfigOption = Annotated[Path | None, where_option("--config", CONFIG_VARIABLE, "FILE", "A settings file, in TOML.")]
_ANY_HOST: Final = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 (compared, not bound)


def takes_settings(params: Collection[Any]) -> bool:
    """Whether a settings file can say something to a command, and nothing else reads it."""
    return any(each.envvar for each in params) and not any(each.name == CONFIG for each in params)


def config_option(known: Collection[str]) -> Any:
    """The option. `known` are the settings that a file may have."""

    def read(context: Any, _: Any, value: Path | None) -> None:
        if value is None or context.resilient_parsing:
            return
        try:
            settings = read_settings_file(value)
        except SettingsFileError as error:
            fail(Exit.UNAVAILABLE, str(error))
        for name in settings:
            if name not in known:
                fail(Exit.USAGE, f"unknown setting `{quote(name)}` in `{value}`{did_you_mean(name, known)}")
        context.default_map = _defaults(context.command.params, settings, value)

    def nothing(config: ConfigOption = None) -> None:
        del config

    (option,) = command_from(nothing).params
    option.callback = read
    option.is_eager = True
    option.expose_value = False
    return option


def _defaults(params: Collection[Any], settings: Mapping[str, Any], file: Path) -> dict[str, str]:
    found = {}
    for param in params:
        name = str(param.envvar or "").removeprefix(ENV_PREFIX).lower()
        value = settings.get(name)
        if name == "target" and value is None and param.default is not None:
            # Only a server can answer: the one with these settings.
            value = _address_of(settings.get("listen"))
        if value is None:
            continue
        if not isinstance(value, str):
            fail(Exit.USAGE, f"setting `{name}` in `{file}` is `{value}`: expected text")
        if value:
            found[param.name] = value
    return found


def _address_of(listen: Any) -> str | None:
    """Where to ask a server that listens there."""
    from remit.core.addresses import parse_address  # noqa: PLC0415 (help and completion do not need it)

    address = parse_address(listen, least_port=1) if isinstance(listen, str) else None
    if address is None:
        return None
    host, port = address
    host = _ANY_HOST.get(host, f"[{host}]" if ":" in host else host)
    return f"{host}:{port}"
