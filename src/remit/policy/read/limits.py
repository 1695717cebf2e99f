from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one tenant's folder, or the root files, may use of a node. A folder past a limit does not load."""

    rows: int = 1_000_000
    """p, g and reach rows, without managed roles."""
    bytes: int = 256 * 1024 * 1024
    """Total of all files in the folder."""
    question_rows: int = 10_000
    """Rows that one question may have to read: some milliseconds."""
    cases: int = 20_000
    """Test cases; a cell of a grid counts as one."""
    seconds: float = 60.0
    """Processor time, from the first byte parsed to the last test passed."""
    witness_rows: int = 2_000
    """Up to this number of rows, Casbin answers the tests too: pycasbin takes quadratic time in a namespace's users."""
