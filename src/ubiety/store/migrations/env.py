"""Alembic's environment: runs on the connection, and in the transaction, of ``Database.migrate``."""

from alembic import context

from ubiety.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    compare_type=True,
    compare_server_default=True,
)
context.run_migrations()
