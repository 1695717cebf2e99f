"""The engine: compiles a tenant's rows into an immutable snapshot that answers questions.

A decision does not scan all rows. It finds the patterns that cover the requested namespace. Then it takes the rows for
this kind and action that the principal holds, denies first, with the scopes on the role path to the row. The first row
decides whose patterns and scopes all cover the namespace. The rows of a principal are compiled on the first question
and cached. A change of g rows makes the next snapshot from the last one, and keeps what is cached of principals that no
changed row touches. Casbin over the same rows is the oracle (`differential`).
"""
