from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from sqlalchemy import Dialect, and_, bindparam, select, update

from remit.audit.append.bulk_insert import insert_statement
from remit.audit.chain.chain import ChainId, Head, genesis
from remit.audit.errors import WHAT_TO_DO, AuditStoreError, StoreChangedError
from remit.audit.schema.tables import chains

_Linked = TypeVar("_Linked")

_MOST: Final = 10_000
"""Chains: more than a server has tenants. Of those that it forgets it asks the database again."""
_KEY = and_(*(column == bindparam(f"of_{column.name}") for column in chains.primary_key))


class KnownHeads:
    """Where a process last committed its chains. What it has once committed it never finds undone: a chain that stands
    further back, or at the same place with another hash, was set back."""

    def __init__(self, most: int = _MOST) -> None:
        """Remembers `most` chains, those that were moved last."""
        self._most = most
        self._committed: OrderedDict[ChainId, Head] = OrderedDict()

    def __len__(self) -> int:
        return len(self._committed)

    def get(self, chain: ChainId) -> Head | None:
        return self._committed.get(chain)

    def committed(self, moved: Mapping[ChainId, Head]) -> None:
        for chain, head in moved.items():
            self._committed[chain] = head
            self._committed.move_to_end(chain)
        while len(self._committed) > self._most:
            self._committed.popitem(last=False)

    def check(self, chain: ChainId, found: Head) -> None:
        """StoreChangedError if `found`, what the database says, cannot follow from what was committed."""
        known = self._committed.get(chain)
        if known is not None and (found.seq < known.seq or (found.seq == known.seq and found.hash != known.hash)):
            raise StoreChangedError(
                f"the audit chain of {chain.table} of tenant `{chain.tenant}` by node `{chain.node}` was set back: this "
                f"process committed its record {known.seq} and the database stands at {found.seq}, with another hash or "
                f"without the records in between. {WHAT_TO_DO}"
            )


class ChainHeads:
    """Where the chains stand that a writer moves, inside its transactions.

    It remembers them, and moves a chain on only from there: where another process has moved it meanwhile, what is
    written follows that one's records.
    """

    def __init__(self, cursor: Any, dialect: Dialect, known: KnownHeads | None = None) -> None:
        """`known` outlives the connection: what one committed, the next may not find undone."""
        self._cursor = cursor
        # Parameters stand in the order of their places in the statement.
        self._read = str(select(chains.c.seq, chains.c.hash).where(_KEY).with_for_update().compile(dialect=dialect))
        moved = update(chains).values(seq=bindparam("new_seq"), hash=bindparam("new_hash"))
        moved = moved.where(_KEY, chains.c.seq == bindparam("old_seq"), chains.c.hash == bindparam("old_hash"))
        self._move = str(moved.compile(dialect=dialect))
        self._begin = str(insert_statement(chains, dialect).on_conflict_do_nothing().compile(dialect=dialect))
        self._known = KnownHeads() if known is None else known
        self._moved: dict[ChainId, Head] = {}

    def move(self, chain: ChainId, link: Callable[[Head], tuple[Head, _Linked]]) -> _Linked:
        """What `link` puts behind the chain's head; the chain's head is then the one it says."""
        old = self._moved.get(chain) or self._known.get(chain) or self._found(chain)
        new, linked = link(old)
        if not self._set(chain, old, new):
            old = self._found(chain)
            self._known.check(chain, old)
            new, linked = link(old)
            if not self._set(chain, old, new):
                raise AuditStoreError(f"the head of {chain} moves although it is held")
        self._moved[chain] = new
        return linked

    def committed(self) -> None:
        """What was moved is committed."""
        self._known.committed(self._moved)
        self._moved.clear()

    def forget(self) -> None:
        """What was moved may not have been committed."""
        self._moved.clear()

    def _set(self, chain: ChainId, old: Head, new: Head) -> bool:
        """False where the chain does not stand at `old`."""
        if old.seq:
            self._cursor.execute(self._move, (*new, *chain, *old))
        else:
            self._cursor.execute(self._begin, (*chain, *new))
        return bool(self._cursor.rowcount)

    def _found(self, chain: ChainId) -> Head:
        """What the database says, held until the transaction ends."""
        self._cursor.execute(self._read, chain)
        found = self._cursor.fetchone()
        return genesis(chain) if found is None else Head(found[0], bytes(found[1]))
