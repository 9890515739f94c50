"""Phone systems that say who is on the phone."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

IDENTITY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "presence_gateways",
        sa.Column("id", IDENTITY, nullable=False),
        sa.Column("kind", sa.String(length=16), server_default="cucm", nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("port", sa.Integer(), server_default=sa.text("5060"), nullable=False),
        sa.Column("transport", sa.String(length=8), server_default="tcp", nullable=False),
        sa.Column("is_asked", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint("kind IN ('cucm')", name="kind"),
        sa.CheckConstraint("transport IN ('udp', 'tcp', 'tls')", name="transport"),
        sa.PrimaryKeyConstraint("id", name="pk_presence_gateways"),
        sa.UniqueConstraint("address", name="uq_presence_gateways_address"),
        sqlite_autoincrement=True,
    )
