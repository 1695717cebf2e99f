"""The deciding: a tenant's rows, compiled into an immutable snapshot that answers questions.

A decision does not scan rows. It finds the patterns that cover the namespace asked about, and the rows for this kind and
action that the principal holds, denies first, each with the scopes on the way to it; the first of which all are among those
patterns decides. What a principal holds is compiled when it is first asked for, and kept.
Casbin over the same rows (`witness`) is the second opinion.
"""
