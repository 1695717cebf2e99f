"""Run by Alembic. The connection, with an open transaction, comes from `remit.fleet.schema.migrate`."""

from alembic import context

from remit.fleet.schema.migrate import VERSION_TABLE
from remit.fleet.schema.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
