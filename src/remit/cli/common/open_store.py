from collections.abc import Iterator
from contextlib import contextmanager

from remit.audit.errors import AuditStoreError
from remit.audit.store.shards import ShardedStore
from remit.cli.common.output import Exit, fail


@contextmanager
def opened(url: str, *, writing: bool = False, as_evidence: bool = False) -> Iterator[ShardedStore]:
    """The audit of all workers, where there is any; ends the command where there is none or it fails. Not `writing`, its
    files are only read, and stay as they are. `as_evidence`: also where its schema is not remit's."""
    try:
        store = ShardedStore(url, readonly=not writing)
        if store.is_new():
            fail(Exit.UNAVAILABLE, f"there is no audit store at `{store.url}`: name one with --audit or REMIT_AUDIT")
        with store.open(as_evidence=as_evidence):
            yield store
    except AuditStoreError as error:
        fail(Exit.UNAVAILABLE, str(error))
