"""A pytest plugin: `pytest policies/` runs the tests of a policy directory, one item per case, and fixtures start a real
server for the tests of a service.

Every run of pytest loads it if remit is installed: it imports nothing before it finds a test file of a tenant, or a test
that uses a fixture.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

_VOCABULARY: Final = "vocabulary.yaml"
_TESTS: Final = "tests"
OLDEST_PYTHON: Final = (3, 11)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collects DIR/TENANT/tests/*.yaml if DIR has a vocabulary. Ignores every other file."""
    folder = file_path.parent
    if file_path.suffix != ".yaml" or folder.name != _TESTS or not (folder.parents[1] / _VOCABULARY).is_file():
        return None
    if sys.version_info < OLDEST_PYTHON:
        raise parent.CollectError("the tests of a policy directory need Python {}.{} or newer".format(*OLDEST_PYTHON))
    try:
        from remit.pytest_plugin.cases import CaseFile  # noqa: PLC0415 (its dependencies may not be installed)
    except ModuleNotFoundError as error:
        needed = f"`{error.name}`: install remit with the extra `pytest` (docs/how-to/install.md)"
        raise parent.CollectError(f"the tests of a policy directory need {needed}") from error
    return CaseFile.from_parent(parent, path=file_path)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("remit_policies", "policy directory of the server that the fixture remit_server starts", type="paths")


@pytest.fixture(scope="session")
def remit_policies(pytestconfig: pytest.Config) -> Path:
    """The policy directory for `remit_server`: the setting `remit_policies`. Define your own fixture to replace it."""
    match pytestconfig.getini("remit_policies"):
        case [Path() as folder]:
            return folder
    pytest.fail(
        "`remit_policies` names no policy directory: set it in pytest's configuration, relative to that file, or define"
        " a fixture `remit_policies` of scope `session`",
        pytrace=False,
    )


@pytest.fixture(scope="session")
def remit_server(remit_policies: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real `remit serve` over `remit_policies`, for the whole run. Its `target` is the address for clients."""
    if sys.version_info < OLDEST_PYTHON:
        pytest.fail("the fixture `remit_server` needs Python {}.{} or newer".format(*OLDEST_PYTHON), pytrace=False)
    try:
        from remit.pytest_plugin.server import serving  # noqa: PLC0415 (its dependencies may not be installed)
    except ModuleNotFoundError as error:
        needed = f"`{error.name}`: install remit with the extra `server` (docs/how-to/install.md)"
        raise pytest.fail.Exception(f"the fixture `remit_server` needs {needed}", pytrace=False) from None
    with serving(Path(remit_policies), tmp_path_factory.mktemp("remit")) as server:
        yield server


@pytest.fixture
def remit_client(remit_server: Any) -> Iterator[Any]:
    """A `remit.client.Client` of `remit_server`."""
    with remit_server.client() as client:
        yield client
