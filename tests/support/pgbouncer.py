"""A real PgBouncer that lends out the connections to a PostgreSQL for one transaction each."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import URL, make_url
from support import debian
from support.server import DEADLINE_S, until

_PORT: Final = 6432
_CONFIGURATION: Final = """\
[databases]
{database} = host={host} port={port}

[pgbouncer]
listen_addr =
listen_port = {listen}
unix_socket_dir = {folder}
auth_type = scram-sha-256
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = 2
{settings}
"""


@contextmanager
def pooled(urls: Sequence[str], **settings: str) -> Iterator[list[str]]:
    """The same URLs of one database, each with its password, through PgBouncer. Where there is none, tests fail."""
    program, environment = debian.program("pgbouncer", "pgbouncer")
    # Not pytest's own directory: PgBouncer never runs as root, and others may not enter that.
    folder = Path(tempfile.mkdtemp(prefix="remit-pgbouncer-"))
    folder.chmod(0o755)
    parsed = [make_url(url) for url in urls]
    (folder / "users").write_text("".join(f'"{url.username}" "{url.password or ""}"\n' for url in parsed))
    lines = [f"{name} = {value}" for name, value in settings.items()]
    if os.geteuid() == 0:
        owner = Path(str(parsed[0].query["host"])).owner()
        lines.append(f"user = {owner}")
        shutil.chown(folder, owner)
    (folder / "pgbouncer.ini").write_text(
        _CONFIGURATION.format(
            database=parsed[0].database,
            host=parsed[0].query["host"],
            port=parsed[0].port or 5432,
            listen=_PORT,
            folder=folder,
            settings="\n".join(lines),
        )
    )
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen([program, str(folder / "pgbouncer.ini")], env=environment, stderr=log)
        try:
            socket = folder / f".s.PGSQL.{_PORT}"
            until(lambda: socket.exists() or process.poll() is not None, "PgBouncer listens")
            log.seek(0)
            assert process.poll() is None, log.read()
            yield [_through(url, folder) for url in parsed]
        finally:
            process.kill()
            process.wait(DEADLINE_S)
            shutil.rmtree(folder)


def _through(url: URL, folder: Path) -> str:
    return url.set(port=_PORT, query={"host": str(folder)}).render_as_string(hide_password=False)
