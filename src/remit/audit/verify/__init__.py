"""Verifies the records: recomputes their chains and compares them with heads and signatures."""
