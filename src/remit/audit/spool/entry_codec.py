import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeVar

from remit.audit.errors import RecordRefused
from remit.audit.record import ArchivedRevision, DecisionRecord, LifecycleRecord

_INTEGERS: Final = range(-(1 << 63), 1 << 63)

_Record = TypeVar("_Record", DecisionRecord, LifecycleRecord, ArchivedRevision)


class SpoolEntry(NamedTuple):
    """The records that were put into a spool together."""

    decided: Sequence[DecisionRecord]
    happened: Sequence[LifecycleRecord]
    unrecorded: Sequence[DecisionRecord]
    """Decisions that are counted and not stored."""
    revisions: Sequence[ArchivedRevision] = ()

    @property
    def ids(self) -> list[bytes]:
        return [record.id for record in self.decided] + [record.id for record in self.happened]

    @property
    def records(self) -> int:
        return sum(map(len, self))

    def written(self) -> bytes:
        """Encodes each kind of record as its field names, then the values of each record.

        A remit with more fields can read the entry.

        Raises RecordRefused if a chain or a column cannot hold a value: the store would refuse it long after the answer
        was sent.
        """
        kinds = [[list(records[0]._fields), *map(_values, records)] if records else [] for records in self]
        try:
            return json.dumps(kinds, ensure_ascii=False, separators=(",", ":")).encode()
        except UnicodeError as error:
            raise RecordRefused(f"a field of the record is no text: {error}") from error

    @classmethod
    def read(cls, content: bytes) -> "SpoolEntry":
        decided, happened, unrecorded, revisions = json.loads(content)
        return cls(
            _records(DecisionRecord, decided),
            _records(LifecycleRecord, happened),
            _records(DecisionRecord, unrecorded),
            _records(ArchivedRevision, revisions),
        )


def _values(record: DecisionRecord | LifecycleRecord | ArchivedRevision) -> list[Any]:
    values: list[Any] = []
    for value in record:
        if isinstance(value, bytes):
            values.append(value.hex())
            continue
        if isinstance(value, str) and ("\n" in value or "\0" in value):
            raise RecordRefused("a field of the record holds a line break or NUL, which the audit store does not take")
        if isinstance(value, int) and value not in _INTEGERS:
            raise RecordRefused(f"`{value}` of the record is larger than the audit store takes")
        values.append(value)
    return values


def _records(kind: type[_Record], encoded: Sequence[Sequence[Any]]) -> list[_Record]:
    if not encoded:
        return []
    fields, *rows = encoded
    of_bytes = [at for at, name in enumerate(fields) if kind.__annotations__[name] is bytes]
    found = []
    for row in rows:
        values = list(row)
        for at in of_bytes:
            values[at] = bytes.fromhex(values[at])
        found.append(kind(**dict(zip(fields, values, strict=True))))
    return found
