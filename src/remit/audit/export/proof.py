"""The proof of an export: its chains, their heads, tombstones and checkpoints, as JSON."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from remit.audit.chain import anchors
from remit.audit.chain.chain import ChainId, Head
from remit.audit.chain.signing import Checkpoint, Tombstone
from remit.audit.export.errors import ExportError

FORMAT: Final = "remit export 1"
_ENDING: Final = ".proof.json"
_LIFECYCLE: Final = ".lifecycle"


@dataclass(frozen=True, slots=True)
class ExportedChain:
    """The part of a chain that an export holds."""

    chain: ChainId
    after: Head
    """The head that the first record follows: the genesis (seq 0), a tombstone, or a record outside the export."""
    upto: Head
    """The part's last record."""
    head: Head
    """The chain's newest record when the export was made."""
    tombstone: Tombstone | None
    checkpoints: tuple[Checkpoint, ...]
    """Checkpoints of records in the part."""


@dataclass(frozen=True, slots=True)
class Proof:
    tenant: str
    made_us: int
    since_us: int | None
    until_us: int | None
    records: str
    """The format of the record files: a name of `formats`, JSONL or PARQUET."""
    files: dict[str, str]
    """The names of the files beside the proof, by table."""
    parts: tuple[ExportedChain, ...]

    @property
    def whole(self) -> bool:
        """Whether the export holds all records of the tenant."""
        return self.since_us is None and self.until_us is None

    def text(self) -> str:
        return json.dumps(
            {
                "format": FORMAT,
                "tenant": self.tenant,
                "made_us": self.made_us,
                "since_us": self.since_us,
                "until_us": self.until_us,
                "records": self.records,
                "files": self.files,
                "keys": sorted({each.key_id for part in self.parts for each in _signed(part)}),
                "chains": [_part_told(part) for part in self.parts],
            },
            indent=1,
        )

    @classmethod
    def read(cls, path: Path) -> "Proof":
        """Reads a proof. Raises ExportError if the file is no proof."""
        try:
            document = json.loads(path.read_text())
            if document["format"] != FORMAT:
                raise ExportError(f"`{path}` is of format `{document['format']}`: this program reads `{FORMAT}`")
            return cls(
                tenant=document["tenant"],
                made_us=document["made_us"],
                since_us=document["since_us"],
                until_us=document["until_us"],
                records=document["records"],
                files=document["files"],
                parts=tuple(_part(each) for each in document["chains"]),
            )
        except OSError as error:
            raise ExportError(f"the proof `{path}` cannot be read: {error.strerror}") from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ExportError(f"`{path}` is no proof of an export: {error!r}") from error


def proof_of(path: Path) -> Path:
    """The path of an export's proof, beside its decisions. Exports in other formats have their own proofs."""
    return path.with_name(path.name + _ENDING)


def lifecycle_of(path: Path) -> Path:
    """The path of the lifecycle records, beside the decisions."""
    return path.with_name(path.stem + _LIFECYCLE + path.suffix)


def proofs_of(path: Path) -> list[Path]:
    """Possible paths of the proof of an export. `path` is its decisions, its lifecycle records or the proof itself."""
    if path.name.endswith(_ENDING):
        return [path]
    main = path.stem.removesuffix(_LIFECYCLE)
    # Earlier versions named the proof without the suffix of the decisions' file.
    names = (path.name, main + path.suffix, main)
    return [path.with_name(name + _ENDING) for name in dict.fromkeys(names)]


def _signed(part: ExportedChain) -> list[Checkpoint | Tombstone]:
    return [*part.checkpoints, *([part.tombstone] if part.tombstone and part.tombstone.key_id else [])]


def _part_told(part: ExportedChain) -> dict[str, Any]:
    document: dict[str, Any] = part.chain._asdict()
    for name in ("after", "upto", "head"):
        seq, hash_ = getattr(part, name)
        document[name] = {"seq": seq, "hash": hash_.hex()}
    document["tombstone"] = None
    if part.tombstone is not None:
        fields = part.tombstone._asdict()
        document["tombstone"] = fields | {name: fields[name].hex() for name in ("hash", "signature")}
    document["checkpoints"] = [anchors.to_json(each) for each in part.checkpoints]
    return document


def _part(document: dict[str, Any]) -> ExportedChain:
    after, upto, head = (_head(document[name]) for name in ("after", "upto", "head"))
    tombstone = None
    if document["tombstone"] is not None:
        fields = dict(document["tombstone"])
        fields |= {name: bytes.fromhex(fields[name]) for name in ("hash", "signature")}
        tombstone = Tombstone(**fields)
    chain = ChainId(document["table"], document["tenant"], document["node"])
    return ExportedChain(
        chain, after, upto, head, tombstone, tuple(anchors.from_json(each) for each in document["checkpoints"])
    )


def _head(document: dict[str, Any]) -> Head:
    head = Head(document["seq"], bytes.fromhex(document["hash"]))
    if type(head.seq) is not int:
        raise ValueError(f"`{head.seq}` is no seq")
    return head
