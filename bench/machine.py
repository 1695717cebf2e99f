"""What the figures were measured on: cores, versions, and what one fdatasync costs here."""

import os
import platform
import statistics
import time
from importlib.metadata import version
from pathlib import Path


def usable_cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def cores() -> tuple[int, int]:
    """The core for the server under test and the core for the load generator: the same one where there is only one."""
    usable = usable_cores()
    return usable[0], usable[1 % len(usable)]


def describe() -> str:
    usable = len(usable_cores())
    processor = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
            break
    python = f"{platform.python_implementation()} {platform.python_version()}"
    packages = ", ".join(f"{name} {version(name)}" for name in ("grpcio", "protobuf", "SQLAlchemy", "pycasbin"))
    return f"{usable} cores ({processor}), Linux {platform.release()}, {python}, {packages}"


def file_system(directory: Path) -> str:
    """Type of the file system that holds `directory`."""
    best, kind = Path("/"), "unknown"
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, this_kind, *_ = line.split(" ")
        if directory.resolve().is_relative_to(mount) and Path(mount).is_relative_to(best):
            best, kind = Path(mount), this_kind
    return kind


def fdatasync_us(directory: Path, times: int = 300) -> float:
    """Median microseconds of an fdatasync after appending 4 KiB to a file in `directory`."""
    path = directory / "fdatasync"
    page = os.urandom(4096)
    taken = []
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        for _ in range(times):
            os.write(descriptor, page)
            start = time.perf_counter_ns()
            os.fdatasync(descriptor)
            taken.append(time.perf_counter_ns() - start)
    finally:
        os.close(descriptor)
        path.unlink()
    return statistics.median(taken) / 1000


def quietness() -> str:
    """A line that says whether the machine is quiet enough to believe what follows."""
    share = busy()
    line = f"other work on these cores just before: {share:.0%}"
    return f"{line}: too much, run again on a quiet machine" if share > 0.1 else line


def busy(seconds: float = 1.0) -> float:
    """The share of the usable cores' time that is taken already (by others, or by the host) while we do nothing."""
    before = _ticks()
    time.sleep(seconds)
    after = _ticks()
    idle, total = (now - then for now, then in zip(after, before, strict=True))
    return 1 - idle / total if total else 0.0


def _ticks() -> tuple[int, int]:
    """Idle and total clock ticks of the usable cores since boot."""
    wanted = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    idle = total = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name in wanted:
            ticks = [int(value) for value in fields[:8]]
            idle += ticks[3] + ticks[4]
            total += sum(ticks)
    return idle, total
