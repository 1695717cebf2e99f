"""The migrations of the audit schema, run by Alembic."""
