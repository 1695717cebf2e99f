import time
from datetime import UTC, datetime


def now_us() -> int:
    return time.time_ns() // 1_000


def utc_text(time_us: int, *, separator: str = "T", timespec: str = "seconds") -> str:
    """ISO 8601 in UTC, for example `2026-11-27T04:26:49Z`. Raises ValueError or OverflowError if no calendar has the
    time."""
    return datetime.fromtimestamp(time_us / 1e6, UTC).isoformat(separator, timespec).replace("+00:00", "Z")
