"""A made-up audit log of a month: three tenants, skewed in who asks, where, when and why. The same for the same size."""

import random
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from remit.audit.record import DecisionRecord
from remit.audit.store.store import AuditStore

DAYS: Final = 30
HOUR_US: Final = 3_600_000_000
END_US: Final = 1_795_176_000_000_000
BEGIN_US: Final = END_US - DAYS * 24 * HOUR_US
_BYTES_A_RECORD: Final = 800
"""Of disk: records, counts, and room for the write-ahead log."""
_AT_A_TIME: Final = 4_096
_TOLD_EVERY_S: Final = 15

TENANTS: Final = {"acme": 0.70, "globex": 0.25, "initech": 0.05}
PRINCIPALS: Final = {"acme": 1_400, "globex": 500, "initech": 100}
NAMESPACES: Final = {"acme": 200, "globex": 80, "initech": 20}
_CALLERS: Final = {
    "webserver": 0.55, "executor": 0.25, "scheduler": 0.12, "indexer": 0.06, "console": 0.0199, "migration": 0.0001,
}  # fmt: skip
_ANSWERS: Final = {
    ("allow", "ALLOWED_BY_RULE"): 0.92, ("deny", "OUT_OF_SCOPE"): 0.04, ("deny", "NOT_GRANTED"): 0.02,
    ("deny", "NO_BINDING"): 0.012, ("deny", "DENIED_BY_RULE"): 0.0079, ("deny", "NO_ACCESS"): 0.00009,
    ("deny", "UNKNOWN_KIND"): 0.00001,
}  # fmt: skip
_QUESTIONS: Final = {"CHECK": 0.95, "OPERATION": 0.03, "EXPLAIN": 0.0199, "GRAPH": 0.00009, "SERVED": 0.00001}
_NODES: Final = {"node-1": 0.5, "node-2": 0.49999, "node-3": 0.00001}


def principal(tenant: str, place: int) -> str:
    return f"user:{tenant}-{place:04}"


def namespace(tenant: str, place: int) -> str:
    return f"{tenant}.department{place % 12}.team{place}"


def revision(tenant: str, day: int) -> str:
    """A tenant's policy changes every day."""
    return f"{day:02x}{tenant.encode().hex():0>62}"


class Dice:
    """Draws by shares."""

    def __init__(self) -> None:
        self._random = random.Random(1)

    def draw(self, shares: dict[Any, float], number: int) -> list[Any]:
        return self._random.choices(list(shares), cum_weights=list(accumulate(shares.values())), k=number)

    def skewed(self, values: int, number: int) -> list[int]:
        """The first value much more often than the last."""
        return self.draw({place: 1 / (place + 2) for place in range(values)}, number)

    def times(self, hour: int, number: int) -> list[int]:
        begin = BEGIN_US + hour * HOUR_US
        return sorted(begin + offset for offset in self._random.choices(range(HOUR_US), k=number))

    def id(self, time_us: int) -> bytes:
        bits = self._random.getrandbits
        return ((time_us // 1000 << 80) | 7 << 76 | bits(12) << 64 | 2 << 62 | bits(62)).to_bytes(16)


def busy(hour: int) -> float:
    """How much is asked in that hour of the month: by day more than by night, on weekends less."""
    day, hour_of_day = divmod(hour, 24)
    return (1.0 if 7 <= hour_of_day < 19 else 0.15) * (0.3 if day % 7 in {5, 6} else 1.0)


def records(number: int) -> Iterator[list[DecisionRecord]]:
    """In the order of time, some at a time."""
    dice = Dice()
    shares = [busy(hour) for hour in range(DAYS * 24)]
    ends = [round(number * share / sum(shares)) for share in accumulate(shares)]
    for hour, (begin, end) in enumerate(zip([0, *ends], ends, strict=False)):
        times = dice.times(hour, end - begin)
        for start in range(0, len(times), _AT_A_TIME):
            yield _made(dice, times[start : start + _AT_A_TIME], hour // 24)


def _made(dice: Dice, times: Sequence[int], day: int) -> list[DecisionRecord]:
    number = len(times)
    drawn = (dice.draw(shares, number) for shares in (TENANTS, _CALLERS, _ANSWERS, _QUESTIONS, _NODES))
    people = {tenant: iter(dice.skewed(size, number)) for tenant, size in PRINCIPALS.items()}
    places = {tenant: iter(dice.skewed(size, number)) for tenant, size in NAMESPACES.items()}
    made = []
    for time_us, tenant, caller, (effect, reason), question, node in zip(times, *drawn, strict=True):
        who, where = next(people[tenant]), next(places[tenant])
        made.append(
            DecisionRecord(
                dice.id(time_us),
                time_us,
                node,
                f"spiffe://example.org/ns/prod/sa/{caller}",
                "",
                tenant,
                namespace(tenant, where),
                principal(tenant, who),
                "VIEW",
                "FLOW",
                f"flow-{time_us % 997}",
                effect,
                reason,
                f"{tenant}/roles.csv:{who % 90 + 1}",
                revision(tenant, day),
                2_100,
                dice.id(time_us),
                -1,
                f"{time_us:032x}",
                question,
            )
        )
    return made


def written(path: Path, number: int) -> AuditStore:
    """The log as a store of SQLite at `path`, made by the store itself unless it is there already."""
    if not path.exists():
        free, needed = shutil.disk_usage(path.parent).free, number * _BYTES_A_RECORD
        if free < needed:
            sys.exit(f"{number:,} records take {needed / 1e9:.1f} GB of disk, and there are {free / 1e9:.1f} free")
        _write(path, number)
    store = AuditStore(f"sqlite:///{path}")
    store.migrate()
    return store.open()


def _write(path: Path, number: int) -> None:
    unfinished = path.with_suffix(".unfinished")
    for each in path.parent.glob(f"{unfinished.name}*"):
        each.unlink()
    done, told = 0, time.monotonic()
    with AuditStore(f"sqlite:///{unfinished}") as store:
        store.migrate()
        for some in records(number):
            store.append(some)
            done += len(some)
            if time.monotonic() - told > _TOLD_EVERY_S:
                print(f"  {done:,} of {number:,} records written", flush=True)
                told = time.monotonic()
    unfinished.rename(path)
