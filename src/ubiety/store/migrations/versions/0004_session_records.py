"""How many active sessions the nodes had when high availability was turned off."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of records."""
    op.create_table(
        "session_records",
        sa.Column("node_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sessions", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["node_id"], ["nodes.id"], name="fk_session_records_node_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("node_id", name="pk_session_records"),
    )
