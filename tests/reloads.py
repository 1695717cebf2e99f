"""Reloads every second under load, between two policies: each answer is the one that the revision it names gives, by both
engines over the files that were kept of that revision; none is an error.

    python tests/reloads.py --seconds 600 --seed 7

Progress on stderr. Exits 1 where an answer is wrong or fails to come.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread
from typing import NamedTuple

import grpc
from support.editing import git
from support.server import DEADLINE_S, POLICIES, Server, access_of

from remit import wire
from remit.core.names import Namespace, Principal, Tenant, Word
from remit.core.question import Question
from remit.engine.differential.casbin_oracle import CasbinOracle
from remit.engine.snapshot import Snapshot
from remit.policy.load import load_root, load_tenant
from remit.policy.revisions.store import RevisionStore
from remit.v1 import access_service_pb2 as messages
from remit.v1 import decision_pb2

TENANT = Tenant("acme")
EVERY_S = 1.0
THREADS = 6
_BATCH = 10
_OTHER = {
    "bindings.csv": "g, user:bob, role:deployer, acme/acme.data.reporting\ng, user:carol, role:developer, acme\n",
    "roles.csv": "p, user:bob, acme, acme.finance.**, FLOW, VIEW, deny\n",
}
"""The rows that the second policy has more than the first, in two files that must not be mixed."""


class Asked(NamedTuple):
    principal: str
    action: str
    kind: str
    namespace: str


class Told(NamedTuple):
    revision: str
    asked: Asked
    effect: str
    reason: str


QUESTIONS = [
    Asked(f"user:{name}", action, "FLOW", namespace)
    for name in ("bob", "carol", "otto", "sam")
    for action in ("VIEW", "UPDATE")
    for namespace in ("acme.finance", "acme.finance.payroll", "acme.data.reporting", "acme.people")
]


@dataclass(slots=True)
class Result:
    answers: int = 0
    told: set[Told] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    edits: int = 0

    @property
    def revisions(self) -> set[str]:
        return {each.revision for each in self.told}


class Asker:
    """Threads that ask one question after the other, some alone and some in batches, and remember what they were told."""

    def __init__(self, server: Server, seed: int) -> None:
        self.result = Result()
        self._mutex = Lock()
        self._stop = Event()
        self._channel = server.channel()
        self._access = access_of(self._channel)
        self._threads = [Thread(target=self._ask, args=(random.Random(f"{seed}/{n}"), n % 3)) for n in range(THREADS)]

    def __enter__(self) -> Result:
        for thread in self._threads:
            thread.start()
        return self.result

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(DEADLINE_S)
        self._channel.close()

    def _ask(self, rng: random.Random, kind: int) -> None:
        told: set[Told] = set()
        answers = 0
        while not self._stop.is_set():
            try:
                for each in self._batch(rng) if kind == 0 else self._one(rng):
                    told.add(each)
                    answers += 1
            except grpc.RpcError as error:
                with self._mutex:
                    self.result.errors.append(f"{error.code()}: {error.details()}")
        with self._mutex:
            self.result.told |= told
            self.result.answers += answers

    def _one(self, rng: random.Random) -> Iterator[Told]:
        asked = rng.choice(QUESTIONS)
        request = messages.CheckRequest(tenant=TENANT, question=messages.Question(**asked._asdict()))
        answer = self._access.Check(request, timeout=DEADLINE_S)
        yield _told(answer.revision, asked, answer.decision)

    def _batch(self, rng: random.Random) -> Iterator[Told]:
        asked = [rng.choice(QUESTIONS) for _ in range(_BATCH)]
        questions = [messages.Question(**each._asdict()) for each in asked]
        answer = self._access.BatchCheck(
            messages.BatchCheckRequest(tenant=TENANT, questions=questions), timeout=DEADLINE_S
        )
        for each, result in zip(asked, answer.results, strict=True):
            yield _told(answer.revision, each, result.decision)


def _told(revision: str, asked: Asked, decision: decision_pb2.Decision) -> Told:
    return Told(revision, asked, wire.EFFECT_OF[decision.effect].value, wire.REASON_OF[decision.reason].value)


class Editor:
    """Switches a policy directory between two commits, in the ways that people and tools do."""

    def __init__(self, directory: Path, rng: random.Random) -> None:
        self._directory = directory
        self._rng = rng
        self._ways: tuple[Callable[[dict[str, bytes]], None], ...] = (self._replace, self._write, self._checkout)
        self._folder = directory / TENANT
        git(directory, "init")
        self._sides = [self._commit("one")]
        for name, rows in _OTHER.items():
            file = self._folder / name
            file.write_text(file.read_text() + rows)
        self._sides.append(self._commit("other"))
        git(directory, "checkout", "one")
        self._side = 0

    def edit(self) -> None:
        self._side = 1 - self._side
        # What was not committed keeps git from checking out.
        git(self._directory, "reset", "--hard")
        self._rng.choice(self._ways)(self._sides[self._side])

    def _commit(self, name: str) -> dict[str, bytes]:
        git(self._directory, "checkout", "-b", name)
        git(self._directory, "add", ".")
        git(self._directory, "commit", "-m", name)
        return {file: (self._folder / file).read_bytes() for file in _OTHER}

    def _replace(self, files: dict[str, bytes]) -> None:
        for name, content in files.items():
            beside = self._folder / f".{name}.swp"
            beside.write_bytes(content)
            beside.replace(self._folder / name)

    def _write(self, files: dict[str, bytes]) -> None:
        for name, content in files.items():
            (self._folder / name).write_bytes(content)

    def _checkout(self, files: dict[str, bytes]) -> None:
        git(self._directory, "checkout", ("one", "other")[self._side])


def run(folder: Path, seconds: float, seed: int, *, progress: bool = False) -> Result:
    """What was told in `seconds` of reloads. Raises AssertionError where an answer is not that of its revision."""
    policies = Path(shutil.copytree(POLICIES, folder / "policies", ignore=shutil.ignore_patterns("tests")))
    editor = Editor(policies, random.Random(seed))
    kept = ("--revisions", str(folder / "revisions"), "--revisions-kept", "1000")
    with Server(folder / "audit", *kept, policies=policies) as server:
        until = time.monotonic() + seconds
        with Asker(server, seed) as result:
            while (left_s := until - time.monotonic()) > 0:
                editor.edit()
                result.edits += 1
                if progress:
                    print(f"\r{result.edits} edits, {left_s:.0f} s left ", end="", file=sys.stderr, flush=True)
                time.sleep(EVERY_S)
    assert not result.errors, result.errors[:10]
    _check(result, RevisionStore(folder / "revisions", 1, ""))
    return result


def _check(result: Result, kept: RevisionStore) -> None:
    engines: dict[str, tuple[Snapshot, CasbinOracle]] = {}
    for revision, asked, effect, reason in result.told:
        if revision not in engines:
            tree = kept.read(TENANT, revision)
            snapshot = load_tenant(tree, TENANT, load_root(tree)).snapshot
            assert snapshot is not None
            engines[revision] = snapshot, CasbinOracle(snapshot.policy)
        snapshot, witness = engines[revision]
        question = question_of(*asked)
        expected = snapshot.decide(question)
        assert (expected.effect, expected.reason) == (effect, reason), f"{asked} by {revision}"
        assert witness.allows(question) == expected.allowed


def question_of(principal: str, action: str, kind: str, namespace: str) -> Question:
    return Question(Principal(principal), Word(action), Word(kind), Namespace(namespace))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            result = run(Path(folder), options.seconds, options.seed, progress=True)
        except AssertionError as error:
            print(f"\nseed {options.seed}\n{error}", file=sys.stderr)
            return 1
    print(file=sys.stderr)
    print(
        f"{result.answers:,} answers over {result.edits:,} edits, each that of the revision it names, of "
        f"{len(result.revisions)} revisions; 0 errors (seed {options.seed})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
