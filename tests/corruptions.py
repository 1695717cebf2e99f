"""Random corruptions of policy files: each is refused with the old revision serving, or accepted and answered as the naive
reference answers over the corrupted files. Nothing crashes.

    python tests/corruptions.py --corruptions 10000 --seed 7

Progress on stderr. Exits 1 at the first that is neither, with the file's name and its bytes.
"""

import argparse
import logging
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import structlog
from million import DifferenceFoundError, compare
from reference import Reference
from strategies import World, world
from support.loading import InProcess
from support.trees import write

from remit.policy.live import LivePolicies, TenantState
from remit.policy.revisions.store import RevisionStore
from remit.service.metrics import Metrics
from remit.service.reload.reloader import Reloader
from remit.service.reload.tenants import Outcome
from remit.service.settings import Settings

EDITS = 20
"""Corruptions of one world, one after the other: each is of the files that the one before it left, or of the good ones."""
QUESTIONS = 30
"""Of each plane, to each tenant after each corruption."""
_BYTES = b"\x00\t\n\r ,#*|.:-_/\\\"'()[]{}&!%@`apg0\x7f\x80\xc3\xef\xbb\xbf\xe2\x80\xa8\xff"

Corrupt = Callable[[Random, bytes], bytes]


def a_byte_else(random: Random, content: bytes) -> bytes:
    place = random.randrange(len(content) + 1)
    return content[:place] + bytes([random.choice(_BYTES)]) + content[place + 1 :]


def a_byte_more(random: Random, content: bytes) -> bytes:
    place = random.randrange(len(content) + 1)
    return content[:place] + bytes([random.choice(_BYTES)]) + content[place:]


def bytes_less(random: Random, content: bytes) -> bytes:
    place = random.randrange(len(content) + 1)
    return content[:place] + content[place + random.randint(1, 8) :]


def half_written(random: Random, content: bytes) -> bytes:
    return content[: random.randrange(len(content) + 1)]


def zeros_at_the_end(random: Random, content: bytes) -> bytes:
    """As a file system may leave a file after a power cut."""
    place = random.randrange(len(content) + 1)
    return content[:place] + bytes(len(content) - place)


def a_line_twice(random: Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True) or [b""]
    lines.insert(random.randrange(len(lines) + 1), random.choice(lines))
    return b"".join(lines)


def a_line_less(random: Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True) or [b""]
    del lines[random.randrange(len(lines))]
    return b"".join(lines)


def lines_in_another_order(random: Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    random.shuffle(lines)
    return b"".join(lines)


def fields_swapped(random: Random, content: bytes) -> bytes:
    lines = content.split(b"\n")
    index = random.randrange(len(lines))
    fields = lines[index].split(b",")
    one, two = random.randrange(len(fields)), random.randrange(len(fields))
    fields[one], fields[two] = fields[two], fields[one]
    lines[index] = b",".join(fields)
    return b"\n".join(lines)


def a_word_of_another_place(random: Random, content: bytes) -> bytes:
    words = content.replace(b"\n", b", ").split(b", ")
    return content.replace(random.choice(words) or b"\n", random.choice(words), random.randint(1, 2))


def garbage(random: Random, content: bytes) -> bytes:
    return random.randbytes(random.randint(0, 60))


CORRUPTIONS: tuple[Corrupt, ...] = (
    a_byte_else,
    a_byte_more,
    bytes_less,
    half_written,
    zeros_at_the_end,
    a_line_twice,
    a_line_less,
    lines_in_another_order,
    fields_swapped,
    a_word_of_another_place,
    garbage,
)


class Walk:
    """One world on disk, with a reloader over it, corrupted step by step."""

    def __init__(self, walked: World, random: Random, directory: Path) -> None:
        self._random = random
        self._good = dict(walked.files)
        self._directory = write(directory / "policies", walked.files)
        self._outcomes: list[Outcome] = []
        self._live = LivePolicies()
        settings = Settings(policies=self._directory, revisions=str(directory / "revisions"), watch=False)
        self._kept = RevisionStore(directory / "revisions", 1, "")
        self._reloader = Reloader(settings, self._live, Metrics(), lambda: 0, InProcess)
        for outcome in self._reloader.load():
            if outcome.kind != "POLICY_LOADED":
                raise DifferenceFoundError(f"a good world is refused: {outcome}")

    def steps(self, count: int) -> Iterator[bool]:
        """Whether each was accepted by all that it concerns."""
        for _ in range(count):
            path = self._random.choice(sorted(self._good))
            file = self._directory / path
            before = file.read_bytes() if self._random.randrange(2) else self._good[path]
            corrupted = self._random.choice(CORRUPTIONS)(self._random, before)
            try:
                yield self._step(file, corrupted)
            except Exception as error:
                raise DifferenceFoundError(f"{path} is now {corrupted!r}\n{error!r}") from error
            if self._random.randrange(4):
                write(self._directory, self._good)

    def _step(self, file: Path, content: bytes) -> bool:
        served = {tenant: policy.revision for tenant, policy in self._live.tenants.items()}
        beside = file.with_suffix(".bak")
        beside.write_bytes(content)
        beside.replace(file)
        if not self._reloader.scan():
            raise DifferenceFoundError("the look did not come to its end")
        for tenant, policy in self._live.tenants.items():
            if policy.snapshot is None:
                raise DifferenceFoundError(f"{tenant} has nothing to serve any more")
            if any("defect" in each.message for each in policy.diagnostics):
                raise DifferenceFoundError("\n".join(map(str, policy.diagnostics)))
            tree = self._kept.read(tenant, policy.revision)
            files = tree.root.files | tree.tenants[tenant].files
            if policy.revision != served[tenant]:
                compare(policy.snapshot, Reference(files, tenant), self._random, QUESTIONS, QUESTIONS)
            if policy.state is TenantState.SERVING and files != self._on_disk(tenant):
                raise DifferenceFoundError(f"{tenant} is SERVING, and not its newest files")
            if policy.state is TenantState.STALE and not policy.diagnostics:
                raise DifferenceFoundError(f"{tenant} is STALE and nothing says why")
            if policy.files_revision != policy.revision != served[tenant]:
                raise DifferenceFoundError(f"{tenant} was refused, and serves something else than before")
        return all(policy.state is TenantState.SERVING for policy in self._live.tenants.values())

    def _on_disk(self, tenant: str) -> dict[str, bytes]:
        root = (path for path in self._directory.iterdir() if path.is_file())
        paths = [*root, *(self._directory / tenant).iterdir()]
        return {str(path.relative_to(self._directory)): path.read_bytes() for path in paths}


def run(corruptions: int, seed: int, *, progress: bool = True) -> tuple[int, int]:
    """How many were accepted and how many refused; raises DifferenceFoundError at the first that is neither."""
    started = shown = time.monotonic()
    accepted = passed = worlds = 0
    with TemporaryDirectory() as directory:
        while passed < corruptions:
            # A world a seed, so that one that fails can be walked again alone.
            random = Random(f"{seed}/{worlds}")
            place = Path(directory) / "world"
            walked = world(random)
            try:
                for fine in Walk(walked, random, place).steps(min(EDITS, corruptions - passed)):
                    accepted += fine
                    passed += 1
            except DifferenceFoundError as error:
                raise DifferenceFoundError(f"world {worlds}\n{walked!r}\n{error}") from error
            shutil.rmtree(place)
            worlds += 1
            if progress and time.monotonic() - shown > 1:
                shown = time.monotonic()
                rate = passed / (shown - started)
                print(f"\r{passed:,} of {corruptions:,} in {worlds:,} worlds, {rate:,.0f}/s ", end="", file=sys.stderr)
    return accepted, passed - accepted


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corruptions", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)
    started = time.monotonic()
    try:
        accepted, refused = run(options.corruptions, options.seed)
    except DifferenceFoundError as error:
        print(f"\nseed {options.seed}\n{error}", file=sys.stderr)
        return 1
    print(file=sys.stderr)
    print(
        f"{accepted:,} accepted and equal to the reference, {refused:,} refused with the old revision serving, 0 failed "
        f"({time.monotonic() - started:.0f} s, seed {options.seed})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
