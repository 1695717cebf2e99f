"""The tests that policy directories contain: cases, coverage and mutation."""
