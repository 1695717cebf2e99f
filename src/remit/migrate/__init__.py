"""Other people's policies in, ours out: Casbin models with their rows, Kestra's roles and bindings.

What cannot be translated faithfully is refused, and what was ambiguous or unsafe in the original is told.
"""
