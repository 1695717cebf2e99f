"""The tests that policy directories carry: cases, coverage and mutation."""
