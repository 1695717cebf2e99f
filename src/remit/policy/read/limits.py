from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one tenant's folder (or the root files) may ask of a node. Past one of them the folder does not load."""

    rows: int = 1_000_000
    """p, g and reach rows, managed roles apart."""
    bytes: int = 256 * 1024 * 1024
    """All files of the folder together."""
    question_rows: int = 10_000
    """Rows that one question may have to read: some milliseconds."""
    cases: int = 20_000
    """Test cases, each cell of a grid one."""
    seconds: float = 60.0
    """Processor time, from the first byte parsed to the last test passed."""
    witness_rows: int = 2_000
    """Rows up to which Casbin answers the tests too: pycasbin is quadratic in a namespace's users."""
