import json
from collections.abc import Sequence

from remit.audit.append.lifecycle import write_lifecycle
from remit.audit.ids import DecisionIds
from remit.audit.query.heads import verification_detail
from remit.audit.record import AUDIT_VERIFIED, LifecycleRecord
from remit.audit.store.shards import ShardedStore
from remit.audit.verify.finding import VerificationReport

NODE = ""
"""No server signs this chain, as that of purges by hand."""


def record_verification(store: ShardedStore, report: VerificationReport, tenant: str, keys: Sequence[str]) -> None:
    """Leaves a record AUDIT_VERIFIED in the first of the store's files. Raises AuditStoreError."""
    detail = verification_detail(
        report.is_whole,
        keys,
        {each.chain: each.upto for each in report.chains},
        [(each.chain, f"{each.kind} at {each.seq}: {each.text}") for each in report.findings],
    )
    time_us, (record_id,) = DecisionIds().stamp(1)
    text = json.dumps(detail, sort_keys=True)
    with store.members[0].transaction() as connection:
        write_lifecycle(connection, LifecycleRecord(record_id, time_us, NODE, AUDIT_VERIFIED, tenant, "", text))
