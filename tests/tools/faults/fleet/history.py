"""What callers of a fleet saw, and what the policy store says. Times are seconds of one monotonic clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from remit.core.names import Tenant
from remit.core.position import Position


class WriteOutcome(StrEnum):
    ACKNOWLEDGED = "ACKNOWLEDGED"
    REFUSED = "REFUSED"
    """It was told that nothing was written."""
    UNKNOWN = "UNKNOWN"
    """It failed or died, and may have written."""


class PublishCall(NamedTuple):
    message: str
    """Another one for each call: it finds the release in the log."""
    after: int | None
    """The release that it is based on. None: the store did not even say which one is the newest."""
    outcome: WriteOutcome
    began_s: float
    ended_s: float


class RowGrant(NamedTuple):
    """A row of run time of the whole tenant."""

    member: str
    holds: str
    expires_us: int | None = None

    @property
    def key(self) -> "RowName":
        return self.member, self.holds


RowName = tuple[str, str]
"""Who, and what it holds: the end of a row may change."""


class ChangeCall(NamedTuple):
    """One time that a request was sent to grant and to revoke rows."""

    node: str
    tenant: str
    request: str
    """Its request id and its reason: another one for each request, however often it is sent."""
    granted: tuple[RowGrant, ...]
    revoked: tuple[RowName, ...]
    expected: Position | None
    """Only if this is the newest position."""
    outcome: WriteOutcome
    position: Position | None
    """None: it was not acknowledged."""
    already: bool
    """It was told that everything was as it wants it."""
    began_s: float
    ended_s: float
    error: str = ""


class SeenAnswer(NamedTuple):
    allowed: bool
    revision: str
    position: Position | None
    """None: the answer has none."""


class CheckCall(NamedTuple):
    node: str
    tenant: str
    principal: str
    at_least: Position | None
    answer: SeenAnswer | None
    """None: the call failed."""
    began_s: float
    ended_s: float
    error: str = ""


class AwayTime(NamedTuple):
    """A time in which a node could not learn of news."""

    node: str
    began_s: float
    ended_s: float
    runs: bool = True
    """Whether it could answer meanwhile."""


class NewsTime(NamedTuple):
    """From here on these nodes can learn of all that was acknowledged before."""

    nodes: Sequence[str]
    at_s: float
    extra_s: float = 0.0
    """How much longer than usual they may take, because they must notice something first."""


class ClockTime(NamedTuple):
    """From here on the clock of a node is wrong by so many seconds."""

    node: str
    at_s: float
    offset_s: float


class LoggedRelease(NamedTuple):
    seq: int
    message: str
    root: str
    """The digest of the root files."""
    tenants: Mapping[Tenant, str]
    """The digest of each tenant's files."""


class LoggedRows(NamedTuple):
    """What a change says of rows of run time."""

    request: str
    time_us: int
    hash: str
    granted: tuple[RowGrant, ...] = ()
    revoked: tuple[RowName, ...] = ()
    ended: tuple[RowName, ...] = ()


class LoggedPosition(NamedTuple):
    position: Position
    release: int
    """The release that the files are from."""
    revision: str
    """Of the tenant's files; '' if it has none any more."""
    rows: LoggedRows | None = None
    """None: the change is about files."""


class StoreLog(NamedTuple):
    """What a policy store holds at one time, in order."""

    releases: Sequence[LoggedRelease]
    changes: Sequence[LoggedPosition]


EMPTY_LOG: Final = StoreLog((), ())


@dataclass(slots=True)
class FleetHistory:
    logs: Sequence[StoreLog] = ()
    """At each time before the store was replaced by a standby, and at the end: the last one holds."""
    publishes: list[PublishCall] = field(default_factory=list)
    changes: list[ChangeCall] = field(default_factory=list)
    checks: list[CheckCall] = field(default_factory=list)
    aways: list[AwayTime] = field(default_factory=list)
    news: list[NewsTime] = field(default_factory=list)
    forks: Mapping[str, int] = field(default_factory=dict)
    """How many records POLICY_FORK each node has written."""
    allowed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Whom each revision allows what the calls ask, when its published files are asked in process."""
    clocks: list[ClockTime] = field(default_factory=list)
    """Also those from before, whose consequences may go on. A node without any has the right time."""
    zero_us: int = 0
    """The time when the monotonic clock was 0, in microseconds since the Unix epoch."""
    synchronous: bool = False
    """Whether the store waited for its standby, so that nothing may be lost."""

    @property
    def last(self) -> StoreLog:
        return self.logs[-1] if self.logs else EMPTY_LOG

    def acknowledged_s(self) -> dict[str, float]:
        """When each acknowledged publish ended, by message."""
        return {each.message: each.ended_s for each in self.publishes if each.outcome is WriteOutcome.ACKNOWLEDGED}

    def offsets_us(self, node: str, until_s: float) -> list[float]:
        """By how much the clock of a node was wrong at any time until then."""
        return [0.0, *(each.offset_s * 1e6 for each in self.clocks if each.node == node and each.at_s <= until_s)]
