"""The tables of a policy store, and their migrations."""
