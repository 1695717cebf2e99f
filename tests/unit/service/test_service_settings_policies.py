"""Where a server may have its policies from."""

import pickle

import pytest

from remit.service.errors import StartupError
from remit.service.settings_reader import read_settings

LOCAL = "sqlite:///var/policy.db"
FLEET = "postgresql+psycopg://remit@db.example/policy"


@pytest.mark.parametrize(
    ("flags", "publishes"),
    [
        ({}, False),
        ({"policies": "policies"}, False),
        ({"policy_store": LOCAL}, False),
        ({"policy_store": FLEET}, False),
        ({"policy_store": LOCAL, "policies": "policies"}, True),
    ],
)
def test_a_directory_beside_a_store_is_its_source(flags: dict[str, str], publishes: bool) -> None:
    settings = read_settings(flags)
    assert publishes == settings.publishes_directory
    # As a worker gets them.
    assert publishes == pickle.loads(pickle.dumps(settings.model_copy(update={"node": "one.w1"}))).publishes_directory


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"policy_store": FLEET}, "`policies` is named beside a `policy_store` in PostgreSQL"),
        ({"policy_store": LOCAL, "policy_keys": "key.pub"}, "`policy_keys` asks for signatures"),
        ({"policy_store": LOCAL, "binding_keys": "key.pub"}, "`binding_keys` asks for signatures"),
        ({"policy_store": LOCAL, "watch": "false"}, "`watch` is off"),
    ],
)
def test_what_a_directory_cannot_be_the_source_of_is_refused(flags: dict[str, str], told: str) -> None:
    with pytest.raises(StartupError, match=told):
        read_settings({**flags, "policies": "policies"})
