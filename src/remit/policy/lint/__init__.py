"""Lint rules: find rows that load but cannot mean what their author wanted, or give more than they seem to.

Rules work on patterns and never try out names. docs/reference/lint.md has a section per rule.
"""
