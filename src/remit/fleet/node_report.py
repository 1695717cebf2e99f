import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

from remit.fleet.release import READABLE

LIVE_S: Final = 30.0
"""A node that has not reported for so long counts as gone. Nodes report every five seconds."""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What a node says of itself."""

    node: str
    instance: str
    """Random; another one for each directory `releases`."""
    version: str
    seq: int = 0
    """The release that its policy files are from; 0 for none."""
    hash: str = ""
    behind: tuple[str, ...] = ()
    """Tenants that serve something else than this release, and why."""
    mode: str = ""
    """How it learns of news: `listening`, or `polling`."""
    stopped: bool = False
    formats: frozenset[int] = READABLE
    """The formats of releases that it can read."""

    @property
    def columns(self) -> dict[str, Any]:
        report = {"seq": self.seq, "hash": self.hash, "behind": self.behind, "mode": self.mode}
        formats = ",".join(map(str, sorted(self.formats)))
        return {
            "instance": self.instance,
            "version": self.version,
            "formats": formats,
            "report": json.dumps(report, sort_keys=True),
        }


class KnownNode(NamedTuple):
    """The last report of a node, as the store has it."""

    node: str
    instance: str
    version: str
    formats: frozenset[int]
    age_s: float
    """Since its last report, by the store's clock."""
    stopped: bool
    seq: int
    hash: str
    behind: tuple[str, ...]
    mode: str

    @classmethod
    def of(cls, row: Any, now_us: int) -> Self:
        report: Mapping[str, Any] = json.loads(row.report)
        return cls(
            row.node,
            row.instance,
            row.version,
            frozenset(int(each) for each in row.formats.split(",") if each),
            max(now_us - row.seen_us, 0) / 1e6,
            bool(row.stopped_us),
            int(report["seq"]),
            str(report["hash"]),
            tuple(report["behind"]),
            str(report["mode"]),
        )

    @property
    def is_live(self) -> bool:
        return not self.stopped and self.age_s < LIVE_S

    def serves(self, seq: int, hash_: str) -> bool:
        """Whether all of its tenants serve this release."""
        return (self.seq, self.hash) == (seq, hash_) and not self.behind


def behind_of(nodes: Sequence[KnownNode]) -> list[KnownNode]:
    """The nodes that do not serve the newest release that one of them has. None: they have converged."""
    if not nodes:
        return []
    newest = max(nodes, key=lambda each: each.seq)
    return [each for each in nodes if not each.serves(newest.seq, newest.hash)]
