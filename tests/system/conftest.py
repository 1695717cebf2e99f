import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.server import POLICIES, Server

from remit.audit.record import DecisionRecord
from remit.audit.store.shards import ShardedStore


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers that do not outlive the test. Arguments as those of Server, the folder aside."""
    with ExitStack() as stack:

        def start(*flags: str, folder: Path = tmp_path / "audit", **options: Any) -> Server:
            return stack.enter_context(Server(folder, *flags, **options))

        yield start


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server over the example company for tests that leave it as it was."""
    with Server(tmp_path_factory.mktemp("shared")) as shared:
        yield shared


@pytest.fixture(scope="session")
def server(untouched: Server) -> Server:
    """Modules whose tests do not leave it as it was have another."""
    return untouched


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """A copy of the example company, to be broken."""
    return Path(shutil.copytree(POLICIES, tmp_path / "policies"))


@pytest.fixture(scope="session")
def untested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example company without its tests: a server over it starts sooner. And without `_callers`: everybody may ask."""
    folder = tmp_path_factory.mktemp("untested") / "policies"
    return Path(shutil.copytree(POLICIES, folder, ignore=shutil.ignore_patterns("tests", "_callers")))


@pytest.fixture
def store(server: Server) -> Iterator[ShardedStore]:
    with server.store() as opened:
        yield opened


@pytest.fixture
def since(store: ShardedStore) -> Callable[[], list[DecisionRecord]]:
    """The decisions recorded during the test, in their order."""
    last = store.decisions(limit=1)
    return lambda: store.decisions(after=last[0].id if last else None, newest_first=False)
