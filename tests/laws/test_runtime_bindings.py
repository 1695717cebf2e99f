"""Some thousand changes; `make bindings` walks a hundred thousand."""

from bindings import run


def test_nobody_gains_more_than_the_granter_and_the_files_allow() -> None:
    """Each random grant, renewal and revoke is judged as the naive reference judges it, by each gate, and the walk goes on
    from those that pass. After each, and between edits of the files, whatever somebody may do was held, for that long, by a
    granter of the rows that give it."""
    tally = run(2_000, seed=1, progress=False)

    assert 2_000 == tally.changes
    assert min(tally.accepted, tally.outside, tally.unsound, tally.escalating, tally.unasked) > 50
    assert min(tally.expired, tally.freely, tally.renewed) > 10
    assert tally.edited > 100
