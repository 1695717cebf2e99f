"""Settings of the AuthZEN API."""

import pickle
from pathlib import Path
from typing import Any

import pytest

from remit.service.errors import StartupError
from remit.service.settings_reader import read_settings


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"authzen": True, "http": ""}, "`authzen` is served at `http`, which is empty"),
        ({"authzen_tenant": "ACME"}, "`authzen_tenant` is `ACME`: expected 1 to 63 of a-z"),
        ({"authzen_base_url": "http://pdp.example.com"}, "`authzen_base_url` is .*: expected an https URL"),
        ({"authzen_base_url": "https://"}, "`authzen_base_url` is .*: expected an https URL"),
        ({"authzen_base_url": "https://h/?a=b"}, "`authzen_base_url` is .*: expected an https URL"),
        ({"authzen_base_url": "https://h/#a"}, "`authzen_base_url` is .*: expected an https URL"),
        ({"authzen_base_url": "https://me:secret@h"}, "`authzen_base_url` is .*: expected an https URL"),
    ],
)
def test_settings_that_do_not_fit_are_refused(flags: dict[str, Any], told: str) -> None:
    with pytest.raises(StartupError, match=told) as refused:
        read_settings(flags)

    assert ":secret@" not in str(refused.value)


def test_the_secret_of_page_tokens_is_that_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"x" * 32)

    assert b"x" * 32 == read_settings({"authzen_page_key": str(file)}).page_secret


@pytest.mark.parametrize(("content", "told"), [(b"short", "has 5 bytes: expected at least 32"), (None, "No such file")])
def test_a_file_without_a_secret_is_refused(tmp_path: Path, content: bytes | None, told: str) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(StartupError, match=told):
        _ = read_settings({"authzen_page_key": str(file)}).page_secret


def test_each_start_has_a_secret_that_its_workers_share() -> None:
    settings = read_settings({})
    of_worker = pickle.loads(pickle.dumps(settings.model_copy(update={"node": "node.w1"})))

    assert settings.page_secret == of_worker.page_secret
    assert settings.page_secret != read_settings({}).page_secret
