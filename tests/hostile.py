"""The long attack: mutated calls of every method to a real server, beside an honest caller.

    python tests/hostile.py --messages 10000000 --seed 7

Progress on stderr. Exits 1 where the server answers INTERNAL or UNKNOWN to a well-formed call, logs an error, leaves a call
hanging, grows by more than 64 MiB once it is warm, closes a connection of well-formed calls, answers the honest caller
otherwise than always, or dies.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from support.hostile import FLAGS, Attack
from support.server import Server


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started = time.monotonic()
    # Half of the valid calls leave a record: ten million messages would leave some gigabytes without the retention.
    retention = ("--audit-retention", "1h", "--audit-retention-every-s", "60")
    with (
        tempfile.TemporaryDirectory(prefix="remit-hostile-") as folder,
        Server(Path(folder), *FLAGS, *retention) as server,
    ):
        attack = Attack(server, options.messages, options.seed)

        def progress() -> None:
            rate = attack.sent / (time.monotonic() - started)
            memory = f"{attack.resident_kib // 1024:,} MiB"
            print(f"\r{attack.sent:,} of {options.messages:,}, {rate:,.0f}/s, {memory} ", end="", file=sys.stderr)

        attack.run(progress)
    print(file=sys.stderr)
    for end, count in attack.ends.most_common():
        print(f"{count:>12,} {end}")
    for each in attack.broken[:20]:
        print(each, file=sys.stderr)
    outcome = f"{attack.honest:,} honest calls, {attack.warm_kib:,} KiB warm, {attack.resident_kib:,} KiB at the end"
    print(f"{attack.sent:,} sent, {len(attack.broken):,} broken, {outcome} (seed {options.seed})")
    return 1 if attack.broken else 0


if __name__ == "__main__":
    sys.exit(main())
