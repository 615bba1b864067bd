"""What Alembic runs: it is always handed an open connection by `dirac.db.schema`."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes.get("metadata"),
    on_version_apply=context.config.attributes.get("on_version_apply"),
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
