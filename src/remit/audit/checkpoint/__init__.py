"""Checkpoints: signed heads of chains, written at intervals."""
