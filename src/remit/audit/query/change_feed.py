"""The change feed: each record of a store once, as it is committed.

Ids follow time, but calls commit in another order: a reader that asks for ids after the last one it has seen misses
records that commit late. A chain numbers its records in commit order, without a gap. The chain heads therefore give the
number of new records, and the search goes back in time until it has found that many.
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

from sqlalchemy import ColumnElement, Connection, and_, case, func, or_, select, true

from remit.audit.chain.chain import DECISIONS
from remit.audit.ids import first_id_at, id_before, id_time_ms
from remit.audit.query.filter import FIRST_ID, LAST_ID, DecisionFilter, walking_ids
from remit.audit.query.page import page_of_decisions
from remit.audit.query.reader import AuditReader
from remit.audit.record import DecisionRecord
from remit.audit.schema.tables import chains, decision_columns, decisions

Chain = tuple[str, str]
"""Tenant and node."""

_LEAST_REACH_MS: Final = 200
"""How far before the newest record a search begins, in milliseconds. Most calls commit within that time."""
_FURTHER: Final = 4
_NAMED: Final = 50
"""A statement names this many chains at most. With more, the chain of a record is checked after it is read."""
_BUDGET_S: Final = 0.5
_LAST_NUMBER: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Scan:
    """A search for the records that some chains have gained."""

    target: Mapping[Chain, int]
    """The heads of those chains."""
    missing: int
    begin: bytes
    """From this id on nothing is left to search, except `first` to `last`."""
    first: bytes
    last: bytes


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the records of a store were returned, and where the feed continues."""

    given: Mapping[Chain, int]
    """By chain, the last sequence number that was returned or is not wanted."""
    newest: bytes
    """The greatest id seen."""
    history: bytes | None = None
    """The feed first returns the records up to `given` with ids after this one. None if none are left."""
    scan: Scan | None = None

    def dump(self) -> str:
        scan = self.scan
        return json.dumps(
            {
                "given": _dump(self.given),
                "newest": self.newest.hex(),
                "history": None if self.history is None else self.history.hex(),
                "sweep": None
                if scan is None
                else [_dump(scan.target), scan.missing, scan.begin.hex(), scan.first.hex(), scan.last.hex()],
            }
        )

    @classmethod
    def load(cls, text: str, where: DecisionFilter) -> Self:
        """Raises ValueError if the text is not a cursor, or not the cursor of a feed of `where`."""
        try:
            document = json.loads(text)
            history = None if document["history"] is None else bytes.fromhex(document["history"])
            scan = None
            if document["sweep"] is not None:
                target, missing, begin, first, last = document["sweep"]
                ids = (bytes.fromhex(each) for each in (begin, first, last))
                scan = Scan(_load(target, where), _number(missing), *ids)
            return cls(_load(document["given"], where), bytes.fromhex(document["newest"]), history, scan)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise ValueError(f"is no position of a follow: {error}") from None


class ChangeFeed:
    """Returns new records of a store, in short reads. No connection stays open between two reads. Not thread-safe."""

    def __init__(self, store: AuditReader, where: DecisionFilter, position: Cursor) -> None:
        self._store = store
        self._where = where
        self._reach_ms = _LEAST_REACH_MS
        self.position = position

    @classmethod
    def begin(cls, store: AuditReader, where: DecisionFilter, after: bytes | None = None) -> Self:
        """Begins with the next record. With `after`, begins with the first record after that id."""
        with store.reading() as connection:
            given = _heads(connection, where)
            newest = connection.execute(select(func.max(decisions.c.id))).scalar() or FIRST_ID
        return cls(store, where, Cursor(given, newest, after))

    @property
    def is_behind(self) -> bool:
        """Whether more records may be available at once."""
        return self.position.history is not None or self.position.scan is not None

    def more(self, limit: int) -> list[DecisionRecord]:
        """Returns the next records, `limit` at most.

        Returns none if there are none yet, or if the time budget ends first.
        """
        ends_at = time.monotonic() + _BUDGET_S
        found: list[DecisionRecord] = []
        while not found and time.monotonic() < ends_at:
            with self._store.reading() as connection:
                if self.position.history is not None:
                    found = self._recall(connection, self.position.history, limit)
                elif (scan := self.position.scan or self._begun(connection)) is not None:
                    found = self._search(connection, scan, limit)
                else:
                    break
        return found

    def _recall(self, connection: Connection, after: bytes, limit: int) -> list[DecisionRecord]:
        page = page_of_decisions(
            connection, self._where, after=after, limit=limit, newest_first=False, budget_s=_BUDGET_S
        )
        places = select(decisions.c.id, decisions.c.tenant, decisions.c.node, decisions.c.seq).where(
            decisions.c.id.in_([record.id for record in page.records])
        )
        given = self.position.given
        # The feed returns records committed since then later.
        earlier = {id_ for id_, tenant, node, seq in connection.execute(places) if seq <= given.get((tenant, node), 0)}
        self.position = replace(self.position, history=page.beyond)
        return [record for record in page.records if record.id in earlier]

    def _begun(self, connection: Connection) -> Scan | None:
        heads = _heads(connection, self._where)
        # A store restored from a backup has lower heads.
        given = {chain: min(seq, heads.get(chain, 0)) for chain, seq in self.position.given.items()}
        target = {chain: seq for chain, seq in heads.items() if seq > given.get(chain, 0)}
        missing = sum(seq - given.get(chain, 0) for chain, seq in target.items())
        begin = self._before(self.position.newest)
        scan = Scan(target, missing, begin, begin, LAST_ID) if missing else None
        self.position = replace(self.position, given=given, scan=scan)
        return scan

    def _search(self, connection: Connection, scan: Scan, limit: int) -> list[DecisionRecord]:
        """Returns the sweep's records among the next ids, and moves the position past those ids."""
        rows = self._look(connection, scan, limit)
        given, target = self.position.given, scan.target
        new = [
            (id_, matches)
            for id_, tenant, node, seq, matches in rows
            if given.get((tenant, node), 0) < seq <= target.get((tenant, node), 0)
        ]
        found = _whole(connection, [id_ for id_, matches in new if matches])
        missing = scan.missing - len(new)
        remaining: Scan | None = None
        if missing and len(rows) == limit:
            remaining = replace(scan, missing=missing, first=rows[-1][0] + b"\x00")
        elif missing and scan.begin > FIRST_ID:
            self._reach_ms *= _FURTHER
            begin = self._before(scan.begin)
            remaining = Scan(target, missing, begin, begin, id_before(scan.begin))
        else:
            # All records are found, or a purge deleted some first.
            self._reach_ms = max(self._reach_ms // 2, _LEAST_REACH_MS)
        newest = max([self.position.newest, *(id_ for id_, _ in new)])
        self.position = Cursor(given if remaining else {**given, **target}, newest, None, remaining)
        return found

    def _look(self, connection: Connection, scan: Scan, limit: int) -> list[tuple[bytes, str, str, int, int]]:
        columns = decisions.c
        matches = case((and_(true(), *self._where.conditions(by_id=False)), 1), else_=0)
        statement = (
            select(columns.id, columns.tenant, columns.node, columns.seq, matches)
            .where(columns.id >= scan.first, columns.id <= scan.last, *self._new(connection, scan.target))
            .order_by(columns.id)
            .limit(limit)
        )
        return [(row[0], row[1], row[2], row[3], row[4]) for row in connection.execute(statement)]

    def _new(self, connection: Connection, target: Mapping[Chain, int]) -> list[ColumnElement[bool]]:
        if len(target) > _NAMED:
            return []
        columns, given = decisions.c, self.position.given
        of_tenant = walking_ids("tenant") if connection.dialect.name == "sqlite" else columns.tenant
        moved = (
            and_(of_tenant == chain[0], columns.node == chain[1], columns.seq.between(given.get(chain, 0) + 1, seq))
            for chain, seq in target.items()
        )
        return [or_(*moved)]

    def _before(self, id_: bytes) -> bytes:
        return first_id_at((id_time_ms(id_) - self._reach_ms) * 1000)


def _dump(seqs: Mapping[Chain, int]) -> list[tuple[str, str, int]]:
    return [(*chain, seq) for chain, seq in seqs.items()]


def _load(positions: Iterable[tuple[str, str, int]], where: DecisionFilter) -> dict[Chain, int]:
    found = {(str(tenant), str(node)): _number(seq) for tenant, node, seq in positions}
    if where.tenant is not None and any(tenant != where.tenant for tenant, _ in found):
        raise ValueError("of another tenant")
    return found


def _number(value: int) -> int:
    number = int(value)
    if not 0 <= number <= _LAST_NUMBER:
        raise ValueError(f"{number} is no number of a record")
    return number


def _heads(connection: Connection, where: DecisionFilter) -> dict[Chain, int]:
    columns = chains.c
    asked = [columns[name] == value for name, value in where.equal.items() if name in {"tenant", "node"}]
    statement = select(columns.tenant, columns.node, columns.seq).where(columns.of_table == DECISIONS, *asked)
    return {(tenant, node): seq for tenant, node, seq in connection.execute(statement)}


def _whole(connection: Connection, ids: Sequence[bytes]) -> list[DecisionRecord]:
    statement = select(*decision_columns).where(decisions.c.id.in_(ids)).order_by(decisions.c.id)
    return [DecisionRecord._make(row) for row in connection.execute(statement)] if ids else []
