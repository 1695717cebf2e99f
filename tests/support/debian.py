"""Programs of Debian's packages, which a test fetches where they are not installed."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from support.server import ROOT

_FOLDER: Final = ROOT / "tests" / "debian"


class DebianProgram(NamedTuple):
    path: str
    environment: Mapping[str, str]
    """What it needs."""

    def run(self, *words: str | Path, given: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        """`given` is its input."""
        return subprocess.run(
            [self.path, *words],
            env={**self.environment, **variables},
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


def program(package: str, name: str) -> DebianProgram:
    """The program, by name. Where it cannot be had, the test fails."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is not None:
        return DebianProgram(found, os.environ)
    done = subprocess.run([_FOLDER / "install", package], capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    installed = _FOLDER / ".installed" / package / "usr"
    libraries = ":".join(map(str, [*installed.glob("lib/*-linux-gnu"), *installed.glob("lib/*-linux-gnu/systemd")]))
    (path,) = (each for each in (installed / "bin" / name, installed / "sbin" / name) if each.exists())
    return DebianProgram(str(path), {**os.environ, "LD_LIBRARY_PATH": libraries})
