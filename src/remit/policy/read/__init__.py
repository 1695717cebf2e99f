"""Reads policy files into values with positions: the directory tree, CSV, YAML, rows, manifests, limits."""
