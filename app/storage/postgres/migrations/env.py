"""Alembic's entry point: runs the migrations on the connection it is given.

Loaded by Alembic only; it is no module of the program.
"""

from alembic import context

from app.storage.audit.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
