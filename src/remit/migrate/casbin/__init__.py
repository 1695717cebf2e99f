"""From and to plain Casbin: models, rows, matchers and the `casbin_rule` table."""
