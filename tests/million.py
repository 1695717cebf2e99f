"""The long run: random questions over random worlds, put to the engine, to Casbin and to the naive reference.

    python tests/million.py --questions 1000000 --seed 7

Progress on stderr. Exits 1 at the first difference, with the world's files and the question.
"""

import argparse
import sys
import time
from random import Random

from reference import Answer, Reference
from strategies import World, world
from support.trees import load
from support.wide import indexed

from remit.core.decision import Decision
from remit.core.question import Question, ReachQuestion
from remit.engine.differential.casbin_oracle import CasbinOracle
from remit.engine.differential.compare import BY_ROWS, verify
from remit.engine.differential.random_questions import random_questions, random_reach_questions
from remit.engine.snapshot import Snapshot

ACCESS_QUESTIONS = 160
"""For each tenant of a world."""
REACH_QUESTIONS = 40


class DifferenceFoundError(Exception):
    pass


def answer(decision: Decision) -> Answer:
    place = decision.rule.place if decision.rule is not None else ""
    return Answer(decision.effect.value, decision.reason.value, place)


def compare(
    snapshot: Snapshot,
    reference: Reference,
    random: Random,
    access_questions: int = ACCESS_QUESTIONS,
    reach_questions: int = REACH_QUESTIONS,
) -> int:
    """The number of questions on which all three agree; raises DifferenceFoundError at one where they do not."""
    witness = CasbinOracle(snapshot.policy)
    asked = 0
    for question in random_questions(snapshot.policy, random, access_questions):
        decision = snapshot.decide(question)
        expected = reference.decide(*question)
        casbins = witness.allows(question) if decision.reason in BY_ROWS else None
        _agree(snapshot, question, decision, expected, casbins)
        asked += 1
    if snapshot.policy.reach:
        for reach_question in random_reach_questions(snapshot.policy, random, reach_questions):
            decision = snapshot.reach.decide(reach_question)
            casbins = witness.reaches(reach_question) if decision.reason in BY_ROWS else None
            _agree(snapshot, reach_question, decision, reference.reach(*reach_question), casbins)
            asked += 1
    return asked


def _agree(
    snapshot: Snapshot,
    question: Question | ReachQuestion,
    decision: Decision,
    expected: Answer | None,
    casbins: bool | None,
) -> None:
    actual = answer(decision)
    if actual == expected and casbins in {None, decision.allowed}:
        return
    lines = [f"tenant {snapshot.tenant}: {question}", f"engine    {actual}", f"reference {expected}"]
    if casbins is not None:
        lines.append(f"casbin    {'allow' if casbins else 'deny'}")
        minimal = verify(snapshot, [question]).difference
        lines += [minimal.text] if minimal is not None else []
    raise DifferenceFoundError("\n".join(lines))


def run(questions: int, seed: int) -> int:
    """The number of questions passed; raises DifferenceFoundError, with the world, at the first that fails."""
    started = shown = time.monotonic()
    passed = worlds = 0
    while passed < questions:
        # A world a seed, so that one that fails can be walked again alone.
        random = Random(f"{seed}/{worlds}")
        walked = world(random)
        with indexed(always=worlds % 2 == 1):
            for tenant in dict.fromkeys(path.partition("/")[0] for path in walked.files if "/" in path):
                passed += _tenant(walked, tenant, random)
        worlds += 1
        if time.monotonic() - shown > 1:
            shown = time.monotonic()
            rate = passed / (shown - started)
            print(f"\r{passed:,} of {questions:,} in {worlds:,} worlds, {rate:,.0f}/s ", end="", file=sys.stderr)
    return passed


def _tenant(walked: World, tenant: str, random: Random) -> int:
    loaded = load(walked.files, tenant)
    if loaded.snapshot is None:
        refused = "\n".join(map(str, loaded.diagnostics))
        raise DifferenceFoundError(f"{walked!r}\n{tenant} does not load:\n{refused}")
    try:
        return compare(loaded.snapshot, Reference(walked.files, tenant), random)
    except DifferenceFoundError as error:
        raise DifferenceFoundError(f"{walked!r}\n{error}") from None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started = time.monotonic()
    try:
        passed = run(options.questions, options.seed)
    except DifferenceFoundError as error:
        print(f"\nseed {options.seed}\n{error}", file=sys.stderr)
        return 1
    print(file=sys.stderr)
    print(f"{passed:,} passed, 0 failed ({time.monotonic() - started:.0f} s, seed {options.seed})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
