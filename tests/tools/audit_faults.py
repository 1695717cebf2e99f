"""Breaks real servers, in a scratch folder, and proves that no acknowledged decision is lost.

The faults, under load and with the policies of a directory: kill -9 during writes, a full disk, a slow disk, a half-written
page, a clock that steps back, and a PostgreSQL that goes away, with and without a spool. After each fault, the audit must
hold every acknowledged decision exactly once, and its chains must verify.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from remit.core.diagnostics import PolicyError
from remit.policy.load import load_tree

from .fault_runs import FaultRun, count, fault_parser
from .faults.load import questions_about
from .faults.suite import FAULTS, Scene


def main(words: Sequence[str] | None = None) -> int:
    parser = fault_parser("audit_faults", __doc__, FAULTS)
    parser.add_argument("directory", nargs="?", type=Path, default=Path("policies"), metavar="DIR", help="of policies")
    parser.add_argument("--rounds", type=count, metavar="COUNT", help="rounds of `kill`, instead of 100")
    parser.add_argument("--short", action="store_true", help="a few rounds of each: under a minute")
    parser.add_argument("--postgresql", default="", metavar="URL", help="a server to make a scratch database on")
    parser.add_argument("--http", action="store_true", help="ask over HTTP instead of gRPC")
    options = parser.parse_args(words)
    try:
        loaded = load_tree(options.directory, tested=False).tenants.values()
    except (PolicyError, OSError) as error:
        parser.exit(3, f"policy directory `{options.directory}` cannot be read: {error}\n")
    policies = [each.snapshot.policy for each in loaded if each.snapshot is not None]
    if not policies:
        parser.exit(3, f"no tenant of `{options.directory}` loads, so there is nothing to ask\n")
    with FaultRun(options, FAULTS, ("acknowledged",)) as run:
        # Tests would delay the start of each server.
        shutil.copytree(options.directory, run.folder / "policies", ignore=shutil.ignore_patterns("tests"))
        for name in run.names:
            fault, usual, few = FAULTS[name]
            rounds = few if options.short else usual
            if name == "kill" and options.rounds is not None:
                rounds = options.rounds
            with run.trying(name, rounds) as tried:
                scene = Scene(
                    folder=run.folder / name,
                    policies=run.folder / "policies",
                    questions=questions_about(policies),
                    rounds=rounds,
                    rng=tried.rng,
                    advance=tried.advance,
                    postgresql=options.postgresql,
                    http=options.http,
                )
                try:
                    fault(scene)
                finally:
                    tried.numbers = [len(scene.acknowledged)]
        return run.end()


if __name__ == "__main__":
    sys.exit(main())
