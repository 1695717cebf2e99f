"""Run by Alembic. The connection, with an open transaction, comes from `remit.audit.schema.migrate`."""

from alembic import context

from remit.audit.schema.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
