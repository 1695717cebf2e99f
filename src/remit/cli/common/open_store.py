from collections.abc import Iterator
from contextlib import contextmanager

from remit.audit.errors import AuditStoreError
from remit.audit.store.shards import ShardedStore
from remit.cli.common.output import Exit, fail


@contextmanager
def opened(url: str, *, writing: bool = False, as_evidence: bool = False) -> Iterator[ShardedStore]:
    """The audit store of all workers. Ends the command if there is none or it fails. Unless `writing`, its files are
    opened read-only. With `as_evidence`, it may have a schema that is not remit's."""
    try:
        store = ShardedStore(url, readonly=not writing)
        if store.is_new():
            fail(Exit.UNAVAILABLE, f"there is no audit store at `{store.url}`: name one with --audit or REMIT_AUDIT")
        with store.open(as_evidence=as_evidence):
            yield store
    except AuditStoreError as error:
        fail(Exit.UNAVAILABLE, str(error))
