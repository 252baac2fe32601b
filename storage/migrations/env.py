"""What Alembic runs: the connection comes from `storage.migrations.upgrade`, with its lock taken."""

from alembic import context

from storage.models import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()
