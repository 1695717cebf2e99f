"""Signed heads of chains, written at intervals."""
