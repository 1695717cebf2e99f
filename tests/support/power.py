"""A power cut, without a switch: what the disk would hold is kept beside it, sync by sync."""

import os
import shutil
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("powercut.c")


def compiled(folder: Path) -> Path:
    """The shim, by the machine's C compiler. Where there is none the tests fail: none is skipped."""
    compiler = os.environ.get("CC", "cc")
    assert shutil.which(compiler), f"`{compiler}`: a C compiler is needed to simulate a power cut (set CC)"
    library = folder / "powercut.so"
    flags = ["-O2", "-Wall", "-Werror", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, "-o", str(library), str(_SOURCE), "-ldl", "-lpthread"], check=True)
    return library


class Disk:
    """A directory of a server, and beside it what a power cut would leave of it."""

    def __init__(self, library: Path, folder: Path, *, delay_ms: int, before: Path | None = None) -> None:
        """`before` is what the disk holds at the beginning."""
        self.live = folder / "live"
        self.shadow = folder / "shadow"
        for each in (self.live, self.shadow):
            each.mkdir(parents=True)
            for file in before.iterdir() if before else ():
                shutil.copyfile(file, each / file.name)
        (self.shadow / "names").write_text("".join(f"{file.name}\n" for file in self.live.iterdir()))
        self.environment = {
            "LD_PRELOAD": str(library),
            "POWERCUT_DIRECTORY": str(self.live),
            "POWERCUT_SHADOW": str(self.shadow),
            "POWERCUT_DELAY_MS": str(delay_ms),
        }

    def after_power_cut(self, target: Path) -> Path:
        """What was synced, under the names that were synced. Call it once the process is dead."""
        target.mkdir(parents=True)
        for name in (self.shadow / "names").read_text().splitlines():
            if (self.shadow / name).is_file():
                shutil.copyfile(self.shadow / name, target / name)
        return target
