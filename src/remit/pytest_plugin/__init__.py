"""Collects the tests of policy directories in pytest."""
