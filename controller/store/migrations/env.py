# SPDX-License-Identifier: Apache-2.0
"""What Alembic runs: the migrations, over the connection that controller.store.migrating opened."""

from alembic import context

from controller.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
