from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.audit_world import World, filled

from remit.audit.store.store import AuditStore


@contextmanager
def new_database(backend: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """The URL of a database with nothing in it."""
    if backend == "sqlite":
        yield f"sqlite:///{folder / 'audit.db'}"
        return
    with request.getfixturevalue("new_postgresql")() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with new_database(request.param, request, tmp_path) as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"], scope="module")
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Shared by the tests of a module, which leave it as it was."""
    folder = tmp_path_factory.mktemp("world")
    with new_database(request.param, request, folder) as made, filled(made, folder) as built:
        yield built


@pytest.fixture
def store(url: str) -> Iterator[AuditStore]:
    with AuditStore(url) as opened:
        opened.migrate()
        yield opened.open()
