from collections.abc import Iterable, Sequence

from sqlalchemy import select, update

from remit.audit.append.bulk_insert import insert_statement
from remit.audit.chain.chain import ChainId, Head, genesis
from remit.audit.chain.signing import Checkpoint, SigningKey, Tombstone, signed
from remit.audit.schema.tables import chains, checkpoints, tombstones
from remit.audit.store.store import AuditStore
from remit.audit.verify.keys_in_use import keys_in_use
from remit.clock import now_us


def heads(store: AuditStore, tenant: str | None = None) -> list[tuple[ChainId, Head]]:
    """The newest record of each chain, of one tenant or of all."""
    statement = select(chains).order_by(*chains.primary_key)
    if tenant is not None:
        statement = statement.where(chains.c.tenant == tenant)
    with store.snapshot(briefly=True) as connection:
        return [(ChainId(*chain), Head(seq, hash_)) for *chain, seq, hash_ in connection.execute(statement)]


def newest(store: AuditStore, chain: ChainId) -> Head:
    """The head that was signed last for a chain. The chain's genesis if none was."""
    columns = checkpoints.c
    its = (columns.of_table == chain.table, columns.tenant == chain.tenant, columns.node == chain.node)
    statement = select(columns.seq, columns.hash).where(*its).order_by(columns.seq.desc()).limit(1)
    with store.snapshot(briefly=True) as connection:
        found = connection.execute(statement).one_or_none()
    return genesis(chain) if found is None else Head._make(found)


def keep(store: AuditStore, made: Sequence[Checkpoint]) -> None:
    """Stores checkpoints in one transaction. If a place in a chain has a checkpoint, that checkpoint stays."""
    with store.transaction() as connection:
        statement = insert_statement(checkpoints, connection.dialect).on_conflict_do_nothing()
        connection.execute(statement, [checkpoint._asdict() for checkpoint in made])


def sign(store: AuditStore, key: SigningKey, grown: Iterable[tuple[ChainId, Head]]) -> None:
    """Signs those heads that have moved since their last signature."""
    made = []
    for chain, head in grown:
        before = newest(store, chain)
        if head.seq > before.seq:
            made.append(signed(Checkpoint(*chain, *head, *before, now_us()), key))
    if made:
        keep(store, made)


def signers(store: AuditStore) -> set[str]:
    """Ids of keys that sign the store; only some of them if there are many. Empty if nothing is signed."""
    found: set[str] = set()
    with store.snapshot(briefly=True) as connection:
        for its in (checkpoints, tombstones):
            found.update(connection.execute(select(its.c.key_id).where(its.c.key_id != "").limit(1)).scalars())
        found.update(key_id for _, key_id in keys_in_use(connection))
    return found


def sign_tombstones(store: AuditStore, key: SigningKey, tenant: str | None = None) -> list[Tombstone]:
    """Signs and returns the tombstones that purges without a key left, of one tenant or of all."""
    columns = tombstones.c
    statement = select(tombstones).where(columns.key_id == "").order_by(*tombstones.primary_key)
    if tenant is not None:
        statement = statement.where(columns.tenant == tenant)
    with store.transaction() as connection:
        made = [signed(Tombstone._make(row), key) for row in connection.execute(statement)]
        for each in made:
            its = (columns.tenant == each.tenant, columns.node == each.node, columns.seq == each.seq)
            values = {"key_id": each.key_id, "signature": each.signature}
            connection.execute(update(tombstones).where(*its).values(values))
    return made
