from collections.abc import Sequence

from sqlalchemy import select

from remit.audit.chain import ChainId, Head, genesis
from remit.audit.inserting import inserting
from remit.audit.signing import Checkpoint
from remit.audit.store import AuditStore
from remit.audit.tables import chains, checkpoints


def heads(store: AuditStore, tenant: str | None = None) -> list[tuple[ChainId, Head]]:
    """The newest record of each chain, of a tenant or of all."""
    statement = select(chains).order_by(*chains.primary_key)
    if tenant is not None:
        statement = statement.where(chains.c.tenant == tenant)
    with store.snapshot(briefly=True) as connection:
        return [(ChainId(*chain), Head(seq, hash_)) for *chain, seq, hash_ in connection.execute(statement)]


def newest(store: AuditStore, chain: ChainId) -> Head:
    """What was signed last of a chain; its genesis where nothing was."""
    columns = checkpoints.c
    its = (columns.of_table == chain.table, columns.tenant == chain.tenant, columns.node == chain.node)
    statement = select(columns.seq, columns.hash).where(*its).order_by(columns.seq.desc()).limit(1)
    with store.snapshot(briefly=True) as connection:
        found = connection.execute(statement).one_or_none()
    return genesis(chain) if found is None else Head._make(found)


def keep(store: AuditStore, made: Sequence[Checkpoint]) -> None:
    """In one transaction. A place in a chain that has a checkpoint keeps the one it has."""
    with store.transaction() as connection:
        statement = inserting(checkpoints, connection.dialect).on_conflict_do_nothing()
        connection.execute(statement, [checkpoint._asdict() for checkpoint in made])
