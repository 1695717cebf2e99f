"""Why a decision is what it is: the deciding row, the chain of bindings, near misses and remedies."""
