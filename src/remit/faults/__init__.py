"""Breaks real servers under load, for `remit audit faults` and for the tests of the audit."""
