"""The heads of chains: those that this process committed, and those that its transaction moves."""

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
"""The number of chains to remember: more than a server has tenants. For others the database is asked again."""
_KEY = and_(*(column == bindparam(f"of_{column.name}") for column in chains.primary_key))


class KnownHeads:
    """The heads that this process committed last.

    A committed head is final: a chain that stands further back, or at the same place with another hash, was set back.
    """

    def __init__(self, most: int = _MOST) -> None:
        """Remembers `most` chains, those that moved last."""
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
        """Raises StoreChangedError if `found`, the database's head, cannot follow from the committed head."""
        known = self._committed.get(chain)
        if known is not None and (found.seq < known.seq or (found.seq == known.seq and found.hash != known.hash)):
            raise StoreChangedError(
                f"the audit chain of {chain.table} of tenant `{chain.tenant}` by node `{chain.node}` was set back: this "
                f"process committed record {known.seq}, but the database is at {found.seq}, with another hash or "
                f"without the records in between. {WHAT_TO_DO}"
            )


class ChainHeads:
    """The heads of the chains that a writer moves, inside its transactions.

    It remembers the heads, and moves a chain only from the remembered head. If another process has moved the chain
    meanwhile, it reads the new head and appends after it.
    """

    def __init__(self, cursor: Any, dialect: Dialect, known: KnownHeads | None = None) -> None:
        """`known` outlives the connection: the next connection detects a loss of what this one committed."""
        self._cursor = cursor
        # Parameters follow the order of their places in the statement.
        self._read = str(select(chains.c.seq, chains.c.hash).where(_KEY).with_for_update().compile(dialect=dialect))
        moved = update(chains).values(seq=bindparam("new_seq"), hash=bindparam("new_hash"))
        moved = moved.where(_KEY, chains.c.seq == bindparam("old_seq"), chains.c.hash == bindparam("old_hash"))
        self._move = str(moved.compile(dialect=dialect))
        self._begin = str(insert_statement(chains, dialect).on_conflict_do_nothing().compile(dialect=dialect))
        self._known = KnownHeads() if known is None else known
        self._moved: dict[ChainId, Head] = {}

    def move(self, chain: ChainId, link: Callable[[Head], tuple[Head, _Linked]]) -> _Linked:
        """Moves a chain to the head that `link` computes from the old head. Returns what `link` linked."""
        old = self._moved.get(chain) or self._known.get(chain) or self._found(chain)
        new, linked = link(old)
        if not self._set(chain, old, new):
            old = self._found(chain)
            self._known.check(chain, old)
            new, linked = link(old)
            if not self._set(chain, old, new):
                raise AuditStoreError(f"the head of {chain} moved although it is locked")
        self._moved[chain] = new
        return linked

    def committed(self) -> None:
        """Keeps the moved heads: their transaction is committed."""
        self._known.committed(self._moved)
        self._moved.clear()

    def forget(self) -> None:
        """Drops the moved heads: their transaction may not be committed."""
        self._moved.clear()

    def _set(self, chain: ChainId, old: Head, new: Head) -> bool:
        """Writes the new head. False if the chain does not stand at `old`."""
        if old.seq:
            self._cursor.execute(self._move, (*new, *chain, *old))
        else:
            self._cursor.execute(self._begin, (*chain, *new))
        return bool(self._cursor.rowcount)

    def _found(self, chain: ChainId) -> Head:
        self._cursor.execute(self._read, chain)
        found = self._cursor.fetchone()
        return genesis(chain) if found is None else Head(found[0], bytes(found[1]))
