from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import BigInteger, LargeBinary, Table

from remit.audit.chain.chain import Row
from remit.audit.export.errors import ExportError
from remit.audit.export.jsonl import unhex

_ROWS_A_GROUP: Final = 20_000
_BATCH: Final = 1_000
_MOMENT: Final = pa.timestamp("us", tz="UTC")
_ID: Final = pa.uuid()
_HASH: Final = "hash"


class Parquet:
    """Writes one record per row, with the table's column names. `time_us` is a timestamp, ids are UUIDs, hashes are hex
    digits: a reader can search for what a log shows."""

    def __init__(self, table: Table, file: IO[bytes]) -> None:
        self._schema = _schema(table)
        self._writer = pq.ParquetWriter(file, self._schema, compression="zstd")
        self._rows: list[Row] = []

    def write(self, rows: Sequence[Row]) -> None:
        """Raises TypeError or ValueError if a value has another type than its column."""
        self._rows += rows
        if len(self._rows) >= _ROWS_A_GROUP:
            self._write_group()

    def close(self) -> None:
        """Leaves the file open."""
        if self._rows:
            self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        columns = zip(*self._rows, strict=True)
        arrays = [_array(values, field) for values, field in zip(columns, self._schema, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._rows = []


def read_parquet(table: Table, path: Path) -> Iterator[list[Row]]:
    """Yields the rows in the order of the file. Raises ExportError if it holds anything but the table's columns."""
    schema = _schema(table)
    try:
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.equals(schema):
                raise ExportError(f"`{path}` holds other columns than an export of {table.name}")
            for batch in file.iter_batches(_BATCH):
                columns = [_values(column, field) for column, field in zip(batch.columns, schema, strict=True)]
                yield list(zip(*columns, strict=True))
    except pa.ArrowException as error:
        raise ExportError(f"`{path}` is no Parquet file: {error}") from error


def _array(values: Sequence[Any], field: Any) -> Any:
    if field.type == _ID:
        return pa.ExtensionArray.from_storage(_ID, pa.array(values, _ID.storage_type))
    if field.name == _HASH:
        values = [value.hex() for value in values]
    return pa.array(values, field.type)


def _values(column: Any, field: Any) -> list[Any]:
    """The values as the table holds them. A hash that is no hex digits becomes None."""
    if field.type == _ID:
        return list(column.storage.to_pylist())
    if field.name == _HASH:
        return [unhex(text) for text in column.to_pylist()]
    return list((column.cast(pa.int64()) if field.type == _MOMENT else column).to_pylist())


def _schema(table: Table) -> Any:
    return pa.schema([pa.field(column.name, _type(column), nullable=False) for column in table.columns])


def _type(column: Any) -> Any:
    if column.name == "time_us":
        return _MOMENT
    if isinstance(column.type, BigInteger):
        return pa.int64()
    if isinstance(column.type, LargeBinary) and column.name != _HASH:
        return _ID
    return pa.string()
