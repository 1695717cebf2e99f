from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Dialect, and_, bindparam, select, update

from remit.audit.chain import ChainId, Head, genesis
from remit.audit.errors import AuditStoreError
from remit.audit.inserting import inserting
from remit.audit.tables import chains

_Linked = TypeVar("_Linked")

_KEY = and_(*(column == bindparam(f"of_{column.name}") for column in chains.primary_key))


class Heads:
    """Where the chains stand that a writer moves, inside its transactions.

    It remembers them, and moves a chain on only from there: where another process has moved it meanwhile, what is
    written follows that one's records.
    """

    def __init__(self, cursor: Any, dialect: Dialect) -> None:
        self._cursor = cursor
        # Parameters stand in the order of their places in the statement.
        self._read = str(select(chains.c.seq, chains.c.hash).where(_KEY).with_for_update().compile(dialect=dialect))
        moved = update(chains).values(seq=bindparam("new_seq"), hash=bindparam("new_hash"))
        moved = moved.where(_KEY, chains.c.seq == bindparam("old_seq"), chains.c.hash == bindparam("old_hash"))
        self._move = str(moved.compile(dialect=dialect))
        self._begin = str(inserting(chains, dialect).on_conflict_do_nothing().compile(dialect=dialect))
        self._known: dict[ChainId, Head] = {}

    def move(self, chain: ChainId, link: Callable[[Head], tuple[Head, _Linked]]) -> _Linked:
        """What `link` puts behind the chain's head; the chain's head is then the one it says."""
        old = self._known.get(chain) or self._found(chain)
        new, linked = link(old)
        if not self._set(chain, old, new):
            old = self._found(chain)
            new, linked = link(old)
            if not self._set(chain, old, new):
                raise AuditStoreError(f"the head of {chain} moves although it is held")
        self._known[chain] = new
        return linked

    def forget(self) -> None:
        """What was moved may not have been committed."""
        self._known.clear()

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
