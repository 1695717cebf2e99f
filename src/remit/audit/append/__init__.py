"""Writes a batch: its rows, its chain heads, its rollup and the policy archives, in one transaction."""
