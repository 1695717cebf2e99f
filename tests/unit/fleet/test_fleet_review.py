from support.runtime import files
from support.trees import snapshot_of

from remit.core.names import Tenant
from remit.core.runtime import parse_runtime_row
from remit.fleet.bindings import GrantedRow, RowKey
from remit.fleet.review import reviewer


def test_a_release_adopts_its_rows_by_their_keys_however_few_it_has() -> None:
    runtime = b"runtime:\n  roles: [role:viewer]\n  scopes: [a.**]\n"
    snapshot = snapshot_of(files(bindings=b"g, user:zoe, role:viewer, acme/a.**\n", runtime=runtime), "acme")
    rows = [parse_runtime_row(f"user:{name}", "role:viewer", "a.**") for name in ("ann", "bob", "zoe")]

    reviewed = reviewer(lambda _: snapshot)(Tenant("acme"), [GrantedRow(row, 3) for row in rows])
    assert ((RowKey.of(rows[2]),), [RowKey]) == (reviewed.adopted, [type(each) for each in reviewed.adopted])
    assert not reviewed.refusals
