"""Exports a tenant's records to files, with a proof beside them."""
