"""Imports from and exports to plain Casbin: models, rows, matchers and the `casbin_rule` table."""
