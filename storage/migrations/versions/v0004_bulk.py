"""Bulk jobs and their items."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0004_bulk"
down_revision: str | None = "0003_summaries"
branch_labels: str | None = None
depends_on: str | None = None

COUNTERS = ("done", "succeeded", "failed", "canceled", "cached", "duplicates", "llm_calls")


def upgrade() -> None:
    op.create_table(
        "bulk_jobs",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("ended", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in COUNTERS),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_usd", sa.Double(), nullable=False),
        sa.Column("unpriced", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_bulk_jobs"),
    )
    op.create_table(
        "bulk_items",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("custom_id", sa.String(length=128), nullable=True),
        sa.Column("leader", sa.Integer(), nullable=True),
        sa.Column("chunk", sa.Integer(), nullable=True),
        sa.Column("identity", sa.String(length=64), nullable=True),
        sa.Column("content_fp", sa.String(length=64), nullable=True),
        sa.Column("content_bytes", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        sa.Column("ask", sa.LargeBinary(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("outcome", sa.LargeBinary(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("job_id", "position", name="pk_bulk_items"),
    )
    op.create_index("ix_bulk_items_chunk", "bulk_items", ["job_id", "chunk"])
    op.create_index("ix_bulk_items_revision", "bulk_items", ["job_id", "revision"])


def downgrade() -> None:
    op.drop_table("bulk_items")
    op.drop_table("bulk_jobs")
