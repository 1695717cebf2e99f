"""Anchors: heads and checkpoints as JSON, for a place that the store's owner cannot write to."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from remit.audit.chain.signing import Checkpoint
from remit.files import cause_of

_HEX = ("hash", "previous_hash", "signature")


class AnchorError(Exception):
    """A file does not hold heads. The text names the file and the line."""


def to_json(checkpoint: Checkpoint) -> dict[str, Any]:
    fields = checkpoint._asdict()
    return {"table": fields.pop("of_table"), **fields, **{name: fields[name].hex() for name in _HEX}}


def from_json(fields: dict[str, Any]) -> Checkpoint:
    """Raises ValueError if the fields are no checkpoint."""
    try:
        bytes_: dict[str, Any] = {name: bytes.fromhex(fields[name]) for name in _HEX}
        checkpoint = Checkpoint._make((fields["table"], *(fields[name] for name in Checkpoint._fields[1:])))
        checkpoint = checkpoint._replace(**bytes_)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"expected a line of `remit audit checkpoint`: {error!r}") from error
    if not all(type(getattr(checkpoint, name)) is int for name in ("seq", "previous_seq", "time_us")):
        raise ValueError("expected whole numbers for `seq`, `previous_seq` and `time_us`")
    if not all(isinstance(name, str) for name in (*checkpoint.chain, checkpoint.key_id)):
        raise ValueError("expected texts for `table`, `tenant`, `node` and `key_id`")
    return checkpoint


def read_heads(path: Path) -> Iterator[tuple[Checkpoint, str]]:
    """Yields each head with its place. Raises AnchorError if the file or a line of it is invalid."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AnchorError(f"`{path}` cannot be read: {cause_of(error)}") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield from_json(json.loads(line)), f"{path}:{number}"
            except json.JSONDecodeError as error:
                to_json = f"{path}:{number}: expected a line of `remit audit checkpoint`, which is JSON: {error}"
                raise AnchorError(to_json) from error
            except ValueError as error:
                raise AnchorError(f"{path}:{number}: {error}") from error
