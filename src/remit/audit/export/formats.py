from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final, Protocol

from remit.audit.chain.chain import Row
from remit.audit.export.errors import ExportError
from remit.audit.export.jsonl import JsonLines, read_json_lines
from remit.audit.verify.encoding import ENCODINGS

JSONL: Final = "jsonl"
PARQUET: Final = "parquet"


class RecordFile(Protocol):
    """A file with records of one table, written in batches."""

    def write(self, rows: Sequence[Row]) -> None: ...

    def close(self) -> None: ...


def writing_records(format_: str, table: str, file: IO[bytes]) -> RecordFile:
    """Opens a file for writing. Raises ExportError if the format is unknown or its dependency is not installed."""
    columns = ENCODINGS[table].table
    return JsonLines(columns, file) if format_ == JSONL else _parquet(format_).Parquet(columns, file)


def read_records(format_: str, table: str, path: Path) -> Iterator[list[Row]]:
    """Yields the rows as the file holds them. Raises ExportError if the file has another format."""
    if table not in ENCODINGS:
        raise ExportError(f"an export holds no `{table}`")
    columns = ENCODINGS[table].table
    try:
        yield from (read_json_lines if format_ == JSONL else _parquet(format_).read_parquet)(columns, path)
    except OSError as error:
        raise ExportError(f"`{path}` cannot be read: {error.strerror or error}") from error


def _parquet(format_: str) -> Any:
    if format_ != PARQUET:
        raise ExportError(f"`{format_}` is no format of exports: expected `{JSONL}` or `{PARQUET}`")
    try:
        from remit.audit.export import parquet  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise ExportError(
            f"Parquet needs `{error.name}`: install remit with the extra `parquet` (docs/how-to/install.md)"
        ) from error
    return parquet
