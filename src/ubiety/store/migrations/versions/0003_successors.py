"""Leases name who else may take the set: a backup takes only what its owner knows it may."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; nobody may take anything until its owner says so."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    with op.batch_alter_table("leases", recreate="always" if is_sqlite else "never") as leases:
        leases.add_column(sa.Column("successor", sa.Integer(), server_default=sa.text("0"), nullable=False))
