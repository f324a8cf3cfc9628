"""Runs the migrations on the connection that `ostiary.store.store` hands over; there is no other way in."""

from alembic import context

from ostiary.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
