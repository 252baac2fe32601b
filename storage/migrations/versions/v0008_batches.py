"""Batches of a provider's batch interface, and the requests of bulk items that travel in them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0008_batches"
down_revision: str | None = "0007_schedules"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.add_column("bulk_jobs", sa.Column("batch_phase", sa.String(length=16), nullable=True))
    op.create_table(
        "bulk_batches",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("due_at", sa.Double(), nullable=False),
        sa.Column("claim", sa.String(length=64), nullable=True),
        sa.Column("claimed_until", sa.Double(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("input_file", sa.String(length=200), nullable=True),
        sa.Column("provider_id", sa.String(length=200), nullable=True),
        sa.Column("canceled", sa.Boolean(), nullable=False),
        sa.Column("closed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_bulk_batches"),
    )
    op.create_index("ix_bulk_batches_job_id", "bulk_batches", ["job_id"])
    op.create_index("ix_bulk_batches_due", "bulk_batches", ["closed", "due_at"])
    op.create_table(
        "bulk_requests",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("batch_id", sa.String(length=64), nullable=True),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("text_fp", sa.String(length=64), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("most_usd", sa.Double(), nullable=True),
        sa.Column("request", sa.LargeBinary(), nullable=True),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("job_id", "position", name="pk_bulk_requests"),
    )
    op.create_index("ix_bulk_requests_batch_id", "bulk_requests", ["batch_id"])


def downgrade() -> None:
    op.drop_table("bulk_requests")
    op.drop_table("bulk_batches")
    with op.batch_alter_table("bulk_jobs") as table:
        table.drop_column("batch_phase")
