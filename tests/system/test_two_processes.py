import json
from collections.abc import Callable
from pathlib import Path

from support.load import Load
from support.server import Server, remit_process

from remit.audit.ids import format_id


def test_audit_commands_run_beside_a_server_under_load(serve: Callable[..., Server], untested: Path) -> None:
    """Lists and purges on the file that the server writes to: no call fails, no command fails, and only what was to go
    is gone."""
    server = serve(policies=untested)
    with Load(server, threads=4) as load:
        load.until_acknowledged(2_000)
        listed = remit_process("audit", "list", "--tenant", "acme", "--limit", "1", "--json", "--audit", server.audit)
        assert 0 == listed.returncode, listed.stderr
        (newest,) = json.loads(listed.stdout)["records"]
        purged = remit_process("audit", "purge", "--yes", "--before", newest["time"], "--audit", server.audit)
        assert 0 == purged.returncode, purged.stderr
        load.until_acknowledged(len(load.acknowledged) + 500)
        load.stop()
    assert [] == load.failures
    with server.store() as store:
        left = {record.id for record in store.decisions(limit=1 << 20)}
        (purge,) = store.lifecycle(type_="PURGED")
    gone = load.acknowledged - left
    assert json.loads(purge.detail)["deleted"] == len(gone) > 0
    assert left <= load.acknowledged
    assert max(map(format_id, gone)) <= newest["id"]
    assert [] == [line for line in server.logs if line["level"] in {"warning", "error"}]
