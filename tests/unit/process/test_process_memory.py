import subprocess
import sys

MIB = 1 << 20
SCRIPT = """
import os
{given}
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

# glibc takes blocks of up to this size from its heap from now on, unless it was told otherwise.
bytearray(31 << 20)
before = resident()
block = bytearray(30 << 20)
kept = [bytearray(2_000) for _ in range(1_000)]
del block
print(resident() - before)
"""


def left(given: str) -> int:
    """Bytes that a process keeps of a large block that is free, with small ones behind it."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(given=given)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_large_blocks_go_back_to_the_system() -> None:
    told = "from remit.process.memory import give_back_large_blocks; give_back_large_blocks()"
    assert 30 * MIB <= left("")
    assert 8 * MIB > left(told)
