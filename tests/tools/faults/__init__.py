"""Breaks real servers under load, for `audit_faults` and for the tests of the audit."""
