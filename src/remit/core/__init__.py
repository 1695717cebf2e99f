"""The values of the policy language: names, patterns, rows, questions, decisions.

Plain values and plain functions over them. Standard library only; no I/O, no clock, no randomness, no logger. It has
many modules because each noun of the language has one.
"""
