import subprocess
from collections.abc import Iterator

import pytest
from support.browser import ROOT, Tab, started
from support.console import ConsoleProcess, example_paths, example_server

from remit.console.pages import PAGES


@pytest.fixture(scope="session")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, list[str]]]]:
    """The address of a console of the example company, and the paths of its pages. One for all tests of a process."""
    with example_server(tmp_path_factory.mktemp("browser")) as server, server.client() as client:
        paths = example_paths(client)
        with ConsoleProcess(server) as process:
            yield process.url, paths


@pytest.fixture(scope="session")
def tab(console: tuple[str, dict[str, list[str]]]) -> Iterator[Tab]:
    subprocess.run([ROOT / "tests/javascript/install"], check=True, timeout=300)
    with started() as driver:
        yield Tab(driver, console[0])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "page_name" in metafunc.fixturenames:
        metafunc.parametrize("page_name", [page.name for page in PAGES])
