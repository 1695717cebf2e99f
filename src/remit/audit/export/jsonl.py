import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

from sqlalchemy import BigInteger, LargeBinary, Table

from remit.audit.chain.chain import Row
from remit.audit.export.errors import ExportError
from remit.audit.ids import format_id

_BATCH: Final = 1_000


class JsonLines:
    """Writes one record per line: an object with exactly the table's columns, in order.

    Ids are UUIDs, hashes are hex digits.
    """

    def __init__(self, table: Table, file: IO[bytes]) -> None:
        self._file = file
        self._names = [column.name for column in table.columns]
        self._bytes = _positions(table, LargeBinary)

    def write(self, rows: Sequence[Row]) -> None:
        """Raises TypeError or ValueError if a value has another type than its column."""
        *ids, hash_at = self._bytes
        for row in rows:
            values = list(row)
            values[hash_at] = values[hash_at].hex()
            for at in ids:
                values[at] = format_id(values[at])
            line = json.dumps(dict(zip(self._names, values, strict=True)), ensure_ascii=False, separators=(",", ":"))
            self._file.write(line.encode() + b"\n")

    def close(self) -> None:
        """Leaves the file open."""


def read_json_lines(table: Table, path: Path) -> Iterator[list[Row]]:
    """Yields the rows in the order of the lines. Raises ExportError if a line holds anything but the table's columns.

    A value that its column cannot hold becomes None: no hash can be computed of such a record.
    """
    parse = _parser(table)
    with path.open("rb") as file:
        number = 0
        while lines := list(islice(file, _BATCH)):
            rows = []
            for line in lines:
                number += 1
                try:
                    rows.append(parse(line))
                except ValueError as error:
                    raise ExportError(f"{path}:{number}: {error}") from error
            yield rows


def _parser(table: Table) -> Callable[[bytes], Row]:
    names = tuple(column.name for column in table.columns)
    bytes_ = _positions(table, LargeBinary)
    types = [int if isinstance(column.type, BigInteger) else str for column in table.columns]

    def parse(line: bytes) -> Row:
        # Pairs keep duplicate names: another reader may use the value that this one ignores.
        pairs: Any = json.loads(line, object_pairs_hook=tuple)
        found = tuple(name for name, _ in pairs) if isinstance(pairs, tuple) else None
        if found != names:
            raise ValueError(f"expected an object of {', '.join(names)}, in this order")
        values: list[Any] = [
            value if type(value) is type_ else None for (_, value), type_ in zip(pairs, types, strict=True)
        ]
        for at in bytes_:
            values[at] = unhex(values[at])
        return tuple(values)

    return parse


def unhex(text: Any) -> bytes | None:
    """The bytes of hex digits, with or without hyphens; None if the text is none."""
    try:
        return bytes.fromhex(text.replace("-", ""))
    except (AttributeError, ValueError):
        return None


def _positions(table: Table, kind: type[Any]) -> list[int]:
    return [at for at, column in enumerate(table.columns) if isinstance(column.type, kind)]
