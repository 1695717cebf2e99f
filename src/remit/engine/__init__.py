"""The deciding: a tenant's rows, compiled into an immutable snapshot that answers questions.

A decision does not scan rows. It finds the patterns that cover the namespace asked about, with them what the principal
holds there, and in that the rows for this kind and action, denies first; the first whose namespaces cover decides.
Casbin over the same rows (`witness`) is the second opinion.
"""
