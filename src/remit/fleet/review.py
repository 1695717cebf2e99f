"""Judges the rows of run time by the files of a release: which would stand against it, and which it has too."""

from collections.abc import Callable, Sequence

from remit.core.names import Tenant
from remit.core.runtime import RuntimeRow
from remit.engine.snapshot import Snapshot
from remit.fleet.bindings import GrantedRow, RowKey
from remit.fleet.store import Review, Reviewed
from remit.policy.ceiling import Ceiling, unsound
from remit.policy.load import DEFAULT_LIMITS


def reviewer(
    snapshot_of: Callable[[Tenant], Snapshot | None], question_rows: int = DEFAULT_LIMITS.question_rows
) -> Review:
    """`snapshot_of` makes the policy of a tenant of the release; None if the release does not have it. `question_rows` is
    the limit `policy_max_question_rows`."""

    def review(tenant: Tenant, rows: Sequence[GrantedRow]) -> Reviewed:
        snapshot = snapshot_of(tenant)
        if snapshot is None:
            return Reviewed([_refused(tenant, each.row, "the tenant is gone") for each in rows])
        files = {RowKey(link.member, link.holds, link.scope.text) for link in snapshot.policy.links}
        adopted = {RowKey.of(each.row) for each in rows if each.row.expires_us is None} & files
        left = [each for each in rows if RowKey.of(each.row) not in adopted]
        granted, ceiling = [each.row for each in left], Ceiling(snapshot.policy)
        shut = [_refused(tenant, row, why) for row in granted if (why := ceiling.closed(row))]
        if shut or not left:
            return Reviewed(shut, tuple(sorted(adopted)))
        after = snapshot.changed("", [each.row.link(tenant, each.seq) for each in left], ())
        found = unsound(snapshot, after, granted, granted, question_rows)
        return Reviewed([_refused(tenant, each.row, each.message) for each in found], tuple(sorted(adopted)))

    return review


def _refused(tenant: Tenant, row: RuntimeRow, why: str) -> str:
    return f"{tenant}: {RowKey.of(row).text}: {why}"
