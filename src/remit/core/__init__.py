"""The meaning: names, patterns, rows, questions, decisions.

Plain values and plain functions over them. Standard library only; no I/O, no clock, no randomness, no logger.
"""
