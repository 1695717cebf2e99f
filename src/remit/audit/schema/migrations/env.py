"""Run by Alembic. The connection, its transaction already begun, comes from `remit.audit.schema.migrate`."""

from alembic import context

from remit.audit.schema.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
