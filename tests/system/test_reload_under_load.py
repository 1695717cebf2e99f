"""Short; `make reloads` is the same for ten minutes."""

from pathlib import Path

from reloads import run


def test_every_answer_under_reloads_is_that_of_the_revision_it_names(tmp_path: Path) -> None:
    """Checks and batches while two policies alternate every second: none fails, none mixes two revisions."""
    result = run(tmp_path, seconds=5, seed=1)
    assert len(result.revisions) >= 2
    assert result.answers > 100
