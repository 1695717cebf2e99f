"""What may differ from one Python to the next, on each other Python that is installed: the units, laws and client tests.

    python tests/pythons.py

A Python of each minor version from 3.11 on, of pyenv, PATH or the system, in an environment of its own in `.venvs`. The laws
are tried in fewer worlds than by `make test`: what more of them find has nothing to do with the Python. Exits 1 where one
fails, and where there is no other.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
OLDEST = (3, 11)
TESTS = ("tests/unit", "tests/laws", "tests/system/test_client.py", "tests/system/test_client_questions.py")
# One that cannot make an environment is of no use: Debian has `ensurepip` in a package of its own.
PROBE = """
import os, sys
if os.path.isdir(os.path.join(os.path.dirname(os.__file__), "ensurepip")):
    print("%d %d %s" % (sys.version_info[0], sys.version_info[1], sys.version_info[3]))
"""

Version = tuple[int, int]


def interpreters() -> dict[Version, Path]:
    """One of each minor version, those that are too old included and those not yet released left out."""
    found: dict[Version, Path] = {}
    for path in _candidates():
        match subprocess.run([path, "-c", PROBE], capture_output=True, text=True, check=False).stdout.split():
            case [major, minor, "final"]:
                found.setdefault((int(major), int(minor)), path)
    return dict(sorted(found.items()))


def _candidates() -> Iterator[Path]:
    on_path = [Path(folder) for folder in os.get_exec_path()]
    # What pyenv has on PATH runs only the versions that are switched on.
    shims = [folder for folder in on_path if folder.name == "shims"]
    roots = dict.fromkeys(
        [Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")), *(each.parent for each in shims)]
    )
    of_pyenv = [folder for root in roots for folder in sorted(root.glob("versions/*/bin"))]
    for folder in (*of_pyenv, *on_path, Path("/usr/local/bin"), Path("/usr/bin")):
        if folder.is_dir() and folder not in shims:
            yield from sorted(path for path in folder.iterdir() if re.fullmatch(r"python[23](\.[0-9]+)?", path.name))


def holds(version: Version, python: Path) -> bool:
    """Whether the tests pass there. They print as they go."""
    name = "{}.{}".format(*version)
    print(f"Python {name}: {python}", flush=True)
    environment = {key: value for key, value in os.environ.items() if key != "MAKEFLAGS"} | {"LAWS": "quick"}
    folder = f".venvs/{name}"
    setup = ["make", "--silent", "setup", f"VENV={folder}", f"PYTHON={python}"]
    tests = [f"{folder}/bin/python", "-m", "pytest", "-q", "-n", "auto", "--maxprocesses", "4", "--dist", "worksteal"]
    return all(
        subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0
        for command in (setup, [*tests, *TESTS])
    )


def main() -> None:
    others = {version: path for version, path in interpreters().items() if OLDEST <= version != sys.version_info[:2]}
    if not others:
        sys.exit("found no Python beside {}.{}: install another, 3.11 or newer".format(*sys.version_info))
    failed = ["{}.{}".format(*version) for version, python in others.items() if not holds(version, python)]
    if failed:
        sys.exit(f"failed on Python {', '.join(failed)}")


if __name__ == "__main__":
    main()
