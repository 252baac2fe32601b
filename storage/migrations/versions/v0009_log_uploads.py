"""Small uploads of logs, and the blocks in which they are stored."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0009_log_uploads"
down_revision: str | None = "0008_batches"
branch_labels: str | None = None
depends_on: str | None = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "log_gatherings",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_log_gatherings"),
    )
    op.create_index("ix_log_gatherings_created_at", "log_gatherings", ["created_at"])
    op.create_table(
        "log_uploads",
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("gathering_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_log_uploads"),
    )
    op.create_index("ix_log_uploads_gathering_id", "log_uploads", ["gathering_id"])
    op.create_index("ix_log_uploads_created_at", "log_uploads", ["created_at"])


def downgrade() -> None:
    op.drop_table("log_uploads")
    op.drop_table("log_gatherings")
