"""Some hundred; `make corruptions` walks ten thousand."""

from corruptions import run


def test_corrupted_file_is_refused_or_equals_the_reference() -> None:
    """Refused with the old revision serving, or accepted and answered as the naive reference answers over it."""
    accepted, refused = run(300, seed=1, progress=False)
    assert 300 == accepted + refused
    assert accepted > 30
    assert refused > 30
