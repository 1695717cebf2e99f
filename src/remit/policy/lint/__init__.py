"""Rules about policies that load: what cannot mean what its author wanted, and what gives more than it seems to.

Decided on patterns, never by trying names. docs/reference/lint.md has a section for each rule.
"""
